"""The selector of a plan, and the manifests that it will write, as far as they are known before."""

from dataclasses import dataclass
from typing import Any

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.manifest import INDEX, Manifest
from vit_tickets.pipeline.networks import attention, registry, vit
from vit_tickets.pipeline.networks.pretrained import check_named
from vit_tickets.pipeline.runs.config import CONFIG, RunConfig
from vit_tickets.pipeline.system import files
from vit_tickets.train.sweep.request import Request

SMALLEST = "deit_micro"  # the selector of the built-in dataset
VIEW = "full"  # of training images, by default


@dataclass(frozen=True)
class Selector:
    """What is known of it."""

    model: str
    #: Side of its view in pixels.
    image_size: int
    #: Side of a patch in pixels.
    patch_size: int
    #: How many stages a keep rate compounds over.
    stages: int

    @classmethod
    def of(cls, request: Request) -> "Selector":
        """That of the tickets that are there, else that which will select. Raises UserError for what cannot select."""
        for root in map(request.tickets, request.selected):
            if files.exists(files.join(root, INDEX)):
                ticket = Manifest.open(root).ticket
                if ticket.selector and ticket.patch_size:
                    return cls(ticket.selector, ticket.image_size, ticket.patch_size, len(ticket.counts))
        if files.exists(files.join(request.selector, CONFIG)):
            run = RunConfig.read(request.selector, ("model", "image_size", "patch_size"))
            depth = len(getattr(registry.sketch(run.model), "blocks", ()))
            return cls(run.model, run.image_size, run.patch_size, len(vit.default_stages(run.model, depth)))
        model = SMALLEST if request.pretrain else request.selector
        check_named(model)
        sketch: Any = registry.sketch(model)
        network = attention.check_transformer(sketch)
        stages = vit.default_stages(model, len(network.blocks))
        return cls(model, sketch.pretrained_cfg["input_size"][-1], vit.patch_side(network), len(stages))

    @property
    def num_patches(self) -> int:
        """N of its own grid."""
        return (self.image_size // self.patch_size) ** 2

    def manifest(self, root: str, dataset: str, budget: Budget) -> Manifest:
        """What ticket.json will hold of the sizes and counts of its tickets; raises UserError for too many tokens."""
        view = View(VIEW, self.image_size)
        split = {"samples": 0, "errors": 0, "view": view.kind, "preprocessing": view.preprocessing()}
        record: dict[str, Any] = {
            "num_patches": self.num_patches,
            "counts": list(budget.stage_counts(self.num_patches, self.stages)),
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "grid": self.image_size // self.patch_size,
            "mask_seed": 0,
            "dataset": dataset,
            "splits": {"train": split, "val": split},
            **budget.record(),
        }
        return Manifest(root, record)
