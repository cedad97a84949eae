"""The command line: names of commands and where they live, imported only when called."""

import atexit
import gc
import importlib

import click

COMMANDS = {
    "pack": ("vit_tickets.pipeline.commands.pack:pack", "Write images as a dataset of WebDataset shards."),
    "generate": ("vit_tickets.ticketgen.commands.generate:generate", "Select every image's ticket, once per dataset."),
    "labels": ("vit_tickets.ticketgen.commands.labels:labels", "Write training images' label maps, for token labels."),
    "inspect": (
        "vit_tickets.pipeline.commands.inspection:inspect",
        "Summarise a manifest or label maps; draw tickets on images.",
    ),
    "compare": ("vit_tickets.pipeline.commands.compare:compare", "How far the tickets of several manifests overlap."),
    "verify": (
        "vit_tickets.pipeline.commands.verification:verify",
        "Check a dataset, manifest or label maps against the contract.",
    ),
    "export": ("vit_tickets.pipeline.commands.publish:export", "Write a manifest's tickets as one file to publish."),
    "join": ("vit_tickets.pipeline.commands.publish:join", "Make a manifest of published tickets for your own data."),
    "train": ("vit_tickets.train.commands.train:train", "Train on tickets, random subsets or whole images."),
    "evaluate": (
        "vit_tickets.train.commands.evaluate:evaluate",
        "Score a run on whole images, tickets and random subsets.",
    ),
    "report": ("vit_tickets.train.commands.report:report", "Table and verdict over several runs."),
    "sweep": ("vit_tickets.train.commands.sweep:sweep", "Models x paths x sparsities x seeds, to one report."),
    "table": ("vit_tickets.train.commands.table:table", "The paper's table on your data: all of the above in one."),
}


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="vit-tickets")
def main() -> None:
    """Data-level lottery tickets for vision transformers.

    Stage 1 selects, once per dataset, the patches of every image that a pretrained model attends to (its ticket).
    Stage 2 trains models on tickets (lt), on random subsets of the same size (rc) or on everything (dense), and
    compares them.

    \b
    vit-tickets pack imagenet/ data/imagenet --shorter-side 256
    vit-tickets generate data/imagenet --sparsity 0.27
    vit-tickets train data/imagenet --model deit_small --path lt --tickets manifests/imagenet-deit_small-s0.27
    """
    # Importing torch and timm makes a million objects and no garbage: looking for it took 0.4 s, and 0.8 s at the end.
    gc.set_threshold(50_000, 20)
    atexit.register(gc.freeze)


if __name__ == "__main__":
    main()
