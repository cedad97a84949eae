"""The command line: a table of all commands. A command's module is imported only when the command is called."""

import atexit
import gc
import importlib
from typing import Any

import click

from vit_tickets.pipeline.commands.suggestions import no_such_command, suggesting

# Name of a command, which is also its name in the module -> module below vit_tickets, summary.
COMMANDS = {
    "pack": ("pipeline.commands.pack", "Pack images into a dataset of WebDataset shards."),
    "generate": ("ticketgen.commands.generate", "Select the ticket of every image, once per dataset."),
    "labels": ("ticketgen.commands.labels", "Write label maps of the training images."),
    "inspect": ("pipeline.commands.inspection", "Summarise a manifest or label maps; draw tickets on images."),
    "compare": ("pipeline.commands.compare", "Measure how far several manifests agree."),
    "verify": ("pipeline.commands.verification", "Check a dataset, manifest or label maps for faults."),
    "export": ("pipeline.commands.publish", "Export tickets as one file for publication."),
    "join": ("pipeline.commands.publish", "Apply an exported file to your copy of the images."),
    "train": ("train.commands.train", "Train a model on tickets, random subsets or whole images."),
    "prune": ("train.commands.weights.prune", "Write a weight ticket: which weights of a finished run stay."),
    "evaluate": ("train.commands.evaluate", "Score a run on whole images, tickets and random subsets."),
    "predict": ("train.commands.predict", "Classify any images with a finished run."),
    "cost": ("train.commands.weights.cost", "Count and time what classifying an image costs with finished runs."),
    "report": ("train.commands.report", "Compare runs: accuracies, costs and a verdict."),
    "sweep": ("train.commands.sweep", "Train and compare models x paths x sparsities x seeds."),
    "lth": ("train.commands.weights.lth", "Find lottery tickets of weights and compare them with controls."),
    "stability": (
        "train.commands.weights.stability",
        "Test from which epoch on the order of the data is no matter.",
    ),
    "svite": ("train.commands.weights.svite", "Compare ways to train with fewer weights, beside dense training."),
    "lotus": ("train.commands.weights.lotus", "Prune once and by soups of masks, with tickets of patches."),
    "table": ("train.commands.table", "Reproduce the paper's table on your data, in one command."),
}


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"vit_tickets.{COMMANDS[name][0]}"), name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[__name__] = list(args)
        with suggesting(args):
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            no_such_command(args[0], list(COMMANDS), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with suggesting(ctx.meta[__name__]):
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="vit-tickets")
def main() -> None:
    """Lottery tickets for vision transformers: of patches, and of weights.

    The ticket of an image is the set of patches to which a pretrained model attends most. Stage 1 (generate) selects
    the tickets of a dataset, once. Stage 2 (train, evaluate, report) trains models on tickets (lt), on random subsets
    of the same size (rc) or on all patches (dense), and compares them. A weight ticket says which weights of a network
    stay: prune makes one, lth finds them round by round, svite and lotus compare other ways.

    \b
    vit-tickets pack imagenet/ data/imagenet --shorter-side 256
    vit-tickets generate data/imagenet --sparsity 0.27
    vit-tickets train data/imagenet --model deit_small --path lt --tickets manifests/imagenet-deit_small-s0.27
    """
    # Importing torch and timm creates a million objects and no garbage. Collecting took 0.4 s there and 0.8 s at exit.
    gc.set_threshold(50_000, 20)
    atexit.register(gc.freeze)


if __name__ == "__main__":
    main()
