"""`info.json` of ticket shards: which tars a split has, and how many samples each holds."""

from typing import Any

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system import files
from vit_tickets.ticketgen.jobs.driver import count_errors

WEBDATASET = "webdataset"  # folder of a manifest with its ticket shards
INFO = "info.json"


def write_info(manifest: Manifest, dataset: Dataset, splits: list[str]) -> None:
    """Write MANIFEST/webdataset/info.json for `splits`, keeping those of earlier calls that are still there.

    timm's WebDataset reader takes names, counts and lengths of shards from it; what the patches are patches of stands
    beside them.
    """
    path = files.join(manifest.root, WEBDATASET, INFO)
    known = files.read_json(path).get("splits", {}) if files.exists(path) else {}
    record = {split: entry for split, entry in known.items() if split in manifest.splits}
    files.write_json(path, {"splits": record | {split: _entry(manifest, dataset, split) for split in splits}})


def _entry(manifest: Manifest, dataset: Dataset, split: str) -> dict[str, Any]:
    shards, lengths = dataset.shards(split), []
    for shard in shards:
        rows, errors = count_errors(manifest.path_of(split, shard))
        lengths.append(rows - errors)
    record = manifest.split_record(split)
    return {
        "name": split,
        "num_samples": sum(lengths),
        "filenames": [f"{split}/{shard.stem}.tar" for shard in shards],
        "shard_lengths": lengths,
        "view": record.view,
        "preprocessing": record.preprocessing,
        "grid": manifest.grid_of(split),
        "num_patches": manifest.num_patches_of(split),
        "kept": manifest.kept_of(split),
    }
