"""Manifests and label maps: one Parquet file per shard, and the index that completes them."""

from typing import TYPE_CHECKING

from vit_tickets.pipeline.system.lazy import lazy_names

if TYPE_CHECKING:
    from vit_tickets.pipeline.manifests.columns import unpack_masks
    from vit_tickets.pipeline.manifests.crop_rows import CropRows, read_crop_rows
    from vit_tickets.pipeline.manifests.labels import LabelArrays, LabelMaps
    from vit_tickets.pipeline.manifests.manifest import Manifest

__all__ = ["CropRows", "LabelArrays", "LabelMaps", "Manifest", "read_crop_rows", "unpack_masks"]
__getattr__ = lazy_names(
    __name__,
    {
        "CropRows": "crop_rows",
        "LabelArrays": "labels",
        "LabelMaps": "labels",
        "Manifest": "manifest",
        "read_crop_rows": "crop_rows",
        "unpack_masks": "columns",
    },
)
