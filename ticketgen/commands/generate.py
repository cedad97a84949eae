"""The command of stage 1: generate."""

from dataclasses import dataclass, replace
from typing import Any

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.manifests.methods import GIVEN, METHODS, ONE_BLOCK, STAGED, uses_selector
from vit_tickets.pipeline.system.errors import UserError, WorkFailed, say
from vit_tickets.pipeline.system.fields import COUNT, PART, click_options, option, parsed, sections_of
from vit_tickets.ticketgen.commands.options import SELECTOR_BATCH, EngineOptions, check_weights

FORMATS = ("parquet", "webdataset")
METHOD_HELP = "; ".join(f"({name}) {declared.criterion}" for name, declared in METHODS.items())
OF_SELECTORS = ("selector", "weights", "weights_key", "block", "cross_fit")
DRAWS = ("crop_seed", "crop_scale", "crop_flip")


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """The options of `generate`, apart from those of the engine."""

    sparsity: str | None = option(
        "Share of patches to drop, or a comma-separated list.  [default: 0.27]", section="Tickets", default=None
    )
    keep_rate: str | None = option(
        "Instead: the share that each stage keeps, as the paper gives it (0.9); or a list.", default=None
    )
    tokens: str | None = option("Instead: the number of patches to keep (101); or a list.", default=None)
    selector: str | None = option(
        "A timm ViT with a CLS token, or the folder of a run; with --cross-fit K runs, separated by commas.  "
        "[default: deit_small, on digits its own dense run]",
        default=None,
    )
    weights: str | None = option("Weights of the selector: .safetensors or .pth.  [default: the hub's]", default=None)
    weights_key: str | None = option(
        "Of a file with several sets of weights the one to take, such as model_ema.  [default: averaged (EMA) weights, "
        "where there are any]",
        default=None,
        metavar="NAME",
    )
    stages: str | None = option("Blocks that identify tokens, counted from 1.  [default: 4,7,10 of 12]", default=None)
    mask_seed: int = option("Seed of the random subset.", default=0, show_default=True)

    method: str = option(
        f"A patch is informative if: {METHOD_HELP}. All methods keep equally many patches.",
        section="Method",
        default=STAGED,
        choices=tuple(METHODS),
        metavar="NAME",
        show_default=True,
    )
    block: int | None = option(
        f"The block that {', '.join(ONE_BLOCK)} read, counted from 1.  [default: the last]", default=None, type=COUNT
    )
    cross_fit: int | None = option(
        "Rank every image by a selector that was trained without it: --selector names K runs, each trained "
        "--without-fold 1/K, 2/K, ...; val is shared out alike.",
        default=None,
        type=click.IntRange(2),
        metavar="K",
    )

    scores: str | None = option(
        "Instead of a selector: scores by key. Boxes as .csv (key,x0,y0,x1,y1) or VOC's .xml, maps as .parquet (key "
        "and a list), .npy or .npz, masks as .png; one file, or a folder with a file for each image.",
        section="Scores of your own",
        default=None,
        metavar="FILE_OR_FOLDER",
    )
    image_size: int | None = option(
        "Side of the view in pixels.  [default: the selector's; with --scores 224, on digits 48]",
        default=None,
        type=COUNT,
    )
    patch_size: int | None = option(
        "With --scores: side of a patch in pixels.  [default: 16, on digits 8]", default=None, type=COUNT
    )

    view: str = option(
        "What the selector sees: center = evaluation crop, full = whole image, full@2 = at twice its size, "
        "crops:V = V random crops with a ticket each, crops-mean:V = their mean on the whole image (the last three "
        "are for train alone, other splits are center); auto = full for train, else center.",
        section="View",
        default="auto",
        show_default=True,
    )
    crop_seed: int | None = option("Seed of the crops that crops:V and crops-mean:V draw.  [default: 0]", default=None)
    crop_scale: float | None = option("Smallest share of the image's area in a crop.  [default: 0.08]", default=None)
    crop_flip: float | None = option("Probability that a crop is mirrored.  [default: 0.5]", default=None, type=PART)
    crop_ranks: bool = option("With crops:V: also store the rank of every crop's patches.", default=False, is_flag=True)

    out: str | None = option(
        "The manifest's folder.  [default: manifests/<dataset>-<selector>-s<S>]", section="Output", default=None
    )
    splits: tuple[str, ...] = option(
        "Only this split; may be given again.  [default: all]", default=(), flag="--split", type=str, multiple=True
    )
    formats: str = option(
        "parquet, or parquet,webdataset: also tars with images and tickets.",
        default="parquet",
        flag="--format",
        show_default=True,
    )
    predictions: bool = option(
        "Also store the selector's own class and confidence (a full pass).", default=False, is_flag=True
    )
    no_scores: bool = option(
        "Leave out the column score, most of a manifest's bytes; tickets and ranks stay.", default=False, is_flag=True
    )

    @property
    def draws(self) -> dict[str, Any]:
        """Those options of random crops that were given."""
        return {name: value for name in DRAWS if (value := getattr(self, name)) is not None}

    def check(self) -> None:
        """Raise UserError for options that do not go together, but for those of `--cross-fit`."""
        formats = self.formats.split(",")
        if not set(formats) <= set(FORMATS) or "parquet" not in formats:
            raise UserError(f"--format: expected parquet or parquet,webdataset, found {self.formats!r}")
        self._check_view(formats)
        if self.patch_size is not None and self.scores is None:
            raise UserError(f"--patch-size: expected --scores, found the patches of a selector and {self.patch_size}")

    def _check_view(self, formats: list[str]) -> None:
        from vit_tickets.pipeline.geometry.views import check_kind

        view = self.view
        if view != "auto":
            check_kind(view)
        for name in (*self.draws, *(["crop_ranks"] if self.crop_ranks else [])):
            needed, allowed = ("crops", "--view crops:V or crops-mean:V")
            if name == "crop_ranks":
                needed, allowed = "crops:", "--view crops:V"
            if not view.startswith(needed):
                raise UserError(f"--{name.replace('_', '-')}: expected {allowed}, found {view}")
        if self.predictions and view.startswith("crops"):
            raise UserError(f"--predictions: expected a view that shows each image once, found {view}")
        if "webdataset" in formats and view.startswith("crops:"):
            raise UserError(f"--format webdataset holds one ticket per image: expected another view, found {view}")

    def check_scores(self, engine: EngineOptions) -> None:
        """Raise UserError for options of selectors beside `--scores`."""
        given = {name: getattr(self, name) for name in OF_SELECTORS}
        given |= {"method": self.method if self.method != STAGED else None, "predictions": self.predictions or None}
        given |= {
            "batch_size": engine.batch_size,
            "device": engine.device if engine.device.startswith("cuda") else None,
        }
        given |= {"precision": engine.precision if engine.precision != "fp32" else None}
        for name, value in given.items():
            if value is not None:
                shown = "" if value is True else f" {value}"
                raise UserError(f"--scores: expected no selector, found --{name.replace('_', '-')}{shown}")

    def check_predictions(self, selector: str, num_classes: int) -> None:
        """Raise UserError for `--predictions` of a selector without classes."""
        if self.predictions and not num_classes:
            raise UserError(f"--predictions: expected a selector with classes, found {selector} without a classifier")

    def open_selector(self, dataset, method):
        """(name, SelectorSpec) of the selector of `dataset`, or of those of its folds, for `method`."""
        from vit_tickets.pipeline.networks.fitting import naming
        from vit_tickets.pipeline.runs.names import default_runs_of_folds, default_selector
        from vit_tickets.ticketgen.selection.crossfit import open_cross_fit
        from vit_tickets.ticketgen.selection.selector import open_selector

        if not self.cross_fit:
            name = self.selector or default_selector(dataset.source)
            with naming("--selector"):
                spec = open_selector(name, self.weights, parse_stages(self.stages), method, self.weights_key)
            return name, spec if self.image_size is None else spec.at(self.image_size)
        own = (("--weights", self.weights), ("--weights-key", self.weights_key), ("--image-size", self.image_size))
        for flag, given in own:
            if given is not None:
                raise UserError(f"--cross-fit: expected the weights and sizes of its runs alone, found {flag} {given}")
        if not uses_selector(self.method):
            raise UserError(f"--cross-fit: expected a method that asks the selector, found {self.method}")
        runs = self.selector.split(",") if self.selector else default_runs_of_folds(dataset.source, self.cross_fit)
        spec = open_cross_fit(runs, self.cross_fit, dataset.name, parse_stages(self.stages), method)
        return ", ".join(runs), spec


# Headings of `generate --help`, and the first option below each.
SECTIONS = sections_of(GenerateOptions) | sections_of(EngineOptions)


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.argument("dataset")
@click_options(GenerateOptions)
@overwrite_option
@click_options(EngineOptions)
def generate(dataset: str, overwrite: bool, **values: Any) -> None:
    """Select the ticket of every image in DATASET, once, and write the manifest.

    A pretrained selector runs over each shard. The patches that its CLS token attends to in three blocks are the
    ticket (--method chooses otherwise, for comparison); a random subset of the same size is stored with it. An
    interrupted call is resumed by repeating it: finished shards are skipped. Images that cannot be decoded keep a row
    with their error.

    \b
    vit-tickets generate data/imagenet --sparsity 0.27
    vit-tickets generate data/imagenet --sparsity 0.27,0.488 --out manifests/imagenet
    vit-tickets generate data/imagenet --view crops:8
    vit-tickets generate data/imagenet --method cls-attention --block 10
    vit-tickets generate data/cifar10 --selector runs/cifar10-deit_micro-dense-seed0
    vit-tickets generate data/cifar10 --cross-fit 2 --selector runs/without-1of2,runs/without-2of2
    vit-tickets generate data/imagenet --scores boxes.csv
    """
    from vit_tickets.pipeline.datasets.pack import open_or_build
    from vit_tickets.pipeline.geometry.patches import parse_budgets
    from vit_tickets.pipeline.manifests.manifest import INDEX
    from vit_tickets.pipeline.manifests.methods import Method
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.locks import alone_in
    from vit_tickets.ticketgen.jobs.places import at_place, check_out

    options, engine = parsed(GenerateOptions, values), parsed(EngineOptions, values)
    budgets = parse_budgets(options.sparsity, options.keep_rate, options.tokens)
    options.check()
    method = Method(options.method, options.block)
    (Method(GIVEN) if options.scores is not None else method).check_view(options.view)
    parse_stages(options.stages)
    check_weights(options.weights)
    opened = at_place(open_or_build(dataset))
    splits = list(options.splits) or list(opened.splits)
    for split in splits:
        opened.shards(split)
    if options.out is not None:
        check_out(options.out, opened, INDEX)
    from vit_tickets.ticketgen.commands.scores import notes_on_scores, open_scores
    from vit_tickets.ticketgen.jobs import tickets as job
    from vit_tickets.ticketgen.jobs.driver import stoppable_job
    from vit_tickets.ticketgen.jobs.predicted import doubts
    from vit_tickets.ticketgen.scores.given import ScoresSpec

    engine.check_device()
    if options.scores is not None:
        options.check_scores(engine)
        sizes = options.image_size, options.patch_size, parse_stages(options.stages)
        spec, engine = open_scores(options.scores, opened, splits, *sizes), replace(engine, device="cpu")
    else:
        name, spec = options.open_selector(opened, method)
        options.check_predictions(name, spec.num_classes)
        by = f", method {spec.method}" if options.method != STAGED else ""
        by += f", each of {options.cross_fit} for the images that it was trained without" if options.cross_fit else ""
        about = f"{spec.num_patches} patches of {spec.patch_size} px, weights {spec.weights_sha256[:12]}"
        click.echo(f"selector: {name} ({about}){by}")
    for budget in budgets:
        budget.stage_counts(spec.num_patches, 1)  # raises where it is more than there are
    opener = engine.opener(spec, SELECTOR_BATCH)
    outs = job.default_outs(opened, spec, budgets, options.view, options.out)
    for out in outs:
        check_out(out, opened, INDEX)
    request = job.Request(
        dataset=opened,
        selector=spec,
        budgets=budgets,
        outs=[files.absolute(out) for out in outs],
        splits=splits,
        view=options.view,
        mask_seed=options.mask_seed,
        max_pixels=engine.max_pixels,
        predictions=options.predictions,
        precision=engine.precision,
        webdataset="webdataset" in options.formats.split(","),
        overwrite=overwrite,
        crop_ranks=options.crop_ranks,
        scores=not options.no_scores,
        **options.draws,
    )
    with alone_in(*outs), stoppable_job(overwrite) as summary:
        job.run(request, opener, summary=summary)
    for note in notes_on_scores(outs[0], spec, splits) if isinstance(spec, ScoresSpec) else ():
        say(note)
    for doubted in doubts(outs[0], opened, splits, spec.num_classes) if options.predictions else ():
        say(doubted)
    for budget, folder in zip(budgets, outs, strict=True):
        layout = request.layout(budget, splits[0])
        what = "crop" if layout.num_views else "image"
        click.echo(f"{folder}: {layout.kept} of {layout.num_patches} patches per {what}")
    click.echo(summary.summary_line("a ticket", outs[0]))
    if summary.images and summary.errors == summary.images:
        raise WorkFailed(f"expected images, found {summary.errors:,} that all have an error; see {outs[0]}")


def parse_stages(text: str | None) -> tuple[int, ...] | None:
    """`4,7,10` as a tuple; None if no stages were given."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--stages: expected block numbers such as 4,7,10, found {text!r}") from None
