"""The command of stage 1: generate."""

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.manifests.methods import METHODS, ONE_BLOCK, STAGED, uses_selector
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.commands.options import CPU_BATCH, engine_options
from vit_tickets.ticketgen.engines import processor

GPU_BATCH = 256
FORMATS = ("parquet", "webdataset")
# Headings of `generate --help`, and the first option below each.
SECTIONS = {"Tickets": "sparsity", "Method": "method", "View": "view", "Output": "out", "Engine": "engine"}
METHOD_HELP = "; ".join(f"({name}) {declared.criterion}" for name, declared in METHODS.items())


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.argument("dataset")
@click.option("--sparsity", help="Share of patches to drop, or a comma-separated list.  [default: 0.27]")
@click.option("--keep-rate", help="Instead: the share that each stage keeps, as the paper gives it (0.9); or a list.")
@click.option(
    "--selector",
    help="A timm ViT with a CLS token, or the folder of a run; with --cross-fit K runs, separated by commas.  "
    "[default: deit_small, on digits its own dense run]",
)
@click.option("--weights", help="Weights of the selector: .safetensors or .pth.  [default: the hub's]")
@click.option("--stages", help="Blocks that identify tokens, counted from 1.  [default: 4,7,10 of 12]")
@click.option("--mask-seed", type=int, default=0, show_default=True, help="Of the random counterpart.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    metavar="NAME",
    default=STAGED,
    show_default=True,
    help=f"A patch is informative if: {METHOD_HELP}. All methods keep equally many patches.",
)
@click.option(
    "--block",
    type=click.IntRange(1),
    help=f"The block that {', '.join(ONE_BLOCK)} read, counted from 1.  [default: the last]",
)
@click.option(
    "--cross-fit",
    type=click.IntRange(2),
    metavar="K",
    help="Of every image by a selector that was trained without it: --selector names K runs, each trained "
    "--without-fold 1/K, 2/K, ...; val is shared out alike.",
)
@click.option(
    "--view",
    default="auto",
    show_default=True,
    help="What the selector sees: center = evaluation crop, full = whole image, full@2 = at twice its size, "
    "crops:V = V random crops with a ticket each, crops-mean:V = their mean on the whole image (for val the last "
    "three are center); auto = full for train, else center.",
)
@click.option("--crop-seed", type=int, help="Of the crops that crops:V and crops-mean:V draw.  [default: 0]")
@click.option("--crop-scale", type=float, help="Least share of the image's area in a crop.  [default: 0.08]")
@click.option("--crop-flip", type=click.FloatRange(0, 1), help="Probability that a crop is mirrored.  [default: 0.5]")
@click.option("--crop-ranks", is_flag=True, help="With crops:V: also store the rank of every crop's patches.")
@click.option("--out", help="The manifest's folder.  [default: manifests/<dataset>-<selector>-s<S>]")
@click.option("--split", "splits", multiple=True, help="Only this split; may be given again.  [default: all]")
@click.option("--format", "formats", default="parquet", show_default=True, help="parquet, or parquet,webdataset.")
@click.option("--predictions", is_flag=True, help="Also store the selector's own class and confidence (a full pass).")
@overwrite_option
@engine_options("selector", GPU_BATCH)
def generate(
    dataset, sparsity, keep_rate, selector, weights, method, block, cross_fit, out, splits, view, crop_seed, crop_scale,
    crop_flip, crop_ranks, formats, engine, ray_address, workers, batch_size, device, precision, predictions, stages,
    mask_seed, max_pixels, overwrite,
):  # fmt: skip
    """Select the ticket of every image in DATASET, once, and write the manifest.

    A pretrained selector runs over each shard; the patches that its CLS token attends to in three blocks are the
    ticket, a random subset of the same size is stored beside it (--method chooses otherwise, for comparison).
    Interrupted, it goes on where it stopped: finished shards are skipped. Images that cannot be decoded keep a row with
    their error.

    \b
    vit-tickets generate data/imagenet --sparsity 0.27
    vit-tickets generate data/imagenet --sparsity 0.27,0.488 --out manifests/imagenet
    vit-tickets generate data/imagenet --view crops:8
    vit-tickets generate data/imagenet --method cls-attention --block 10
    vit-tickets generate data/cifar10 --selector runs/cifar10-deit_micro-dense-seed0 --engine local
    vit-tickets generate data/cifar10 --cross-fit 2 --selector runs/without-1of2,runs/without-2of2
    """
    from vit_tickets.pipeline.datasets.pack import open_or_build
    from vit_tickets.pipeline.geometry.patches import parse_budgets
    from vit_tickets.pipeline.manifests.index import true_of
    from vit_tickets.pipeline.manifests.methods import Method
    from vit_tickets.pipeline.runs.names import default_runs_of_folds, default_selector
    from vit_tickets.pipeline.system.locks import alone_in
    from vit_tickets.ticketgen.engines import opening as engines
    from vit_tickets.ticketgen.engines.work import Settings
    from vit_tickets.ticketgen.jobs import tickets as job
    from vit_tickets.ticketgen.jobs.driver import stoppable_job
    from vit_tickets.ticketgen.selection.crossfit import open_cross_fit
    from vit_tickets.ticketgen.selection.selector import open_selector

    budgets = parse_budgets(sparsity, keep_rate)
    wanted = formats.split(",")
    if not set(wanted) <= set(FORMATS) or "parquet" not in wanted:
        raise UserError(f"--format: expected parquet or parquet,webdataset, found {formats!r}")
    draw = {"crop_seed": crop_seed, "crop_scale": crop_scale, "crop_flip": crop_flip}
    given = {name: value for name, value in draw.items() if value is not None}
    check_view(view, [*given, *(["crop_ranks"] if crop_ranks else [])], wanted, predictions)
    scoring = Method(method, block)
    scoring.check_view(view)
    opened = open_or_build(dataset)
    if cross_fit:
        check_cross_fit(method, weights)
        runs = selector.split(",") if selector else default_runs_of_folds(opened.source, cross_fit)
        name = ", ".join(runs)
        spec = open_cross_fit(runs, cross_fit, opened.name, parse_stages(stages), scoring)
    else:
        name = selector or default_selector(opened.source)
        spec = open_selector(name, weights, parse_stages(stages), scoring)
    chosen_by = f", method {spec.method}" if method != STAGED else ""
    fitted = f", each of {cross_fit} for the images that it was trained without" if cross_fit else ""
    click.echo(
        f"selector: {name} ({spec.num_patches} patches of {spec.patch_size} px, weights {spec.weights_sha256[:12]})"
        f"{chosen_by}{fitted}"
    )
    resolved = processor.resolve_device(device) if engine == "local" or ray_address is None else device
    settings = Settings(
        batch_size=batch_size or (CPU_BATCH if resolved == "cpu" else GPU_BATCH),
        mask_seed=mask_seed,
        max_pixels=max_pixels,
        predictions=predictions,
    )
    outs = job.default_outs(opened, spec, budgets, view, out)
    chosen = list(splits) or list(opened.splits)
    for split in chosen:
        opened.shards(split)
    request = job.Request(
        opened, spec, budgets, outs, chosen, view, settings, precision, "webdataset" in wanted, overwrite,
        **given, crop_ranks=crop_ranks,
    )  # fmt: skip
    engine_of = engines.engine_of(engine, spec, settings, resolved, precision, workers, ray_address)
    with alone_in(*outs), stoppable_job(overwrite) as summary:
        job.run(request, engine_of, summary=summary)
    shown = request.view_of(chosen[0])
    for budget, folder in zip(budgets, outs, strict=True):
        record = true_of(job.shared_metadata(request, budget), shown)
        what = "crop" if shown.num_views else "image"
        click.echo(f"{folder}: {record['counts'][-1]} of {record['num_patches']} patches per {what}")
    click.echo(summary.told("selected", settings.batch_size))


def check_view(view: str, crop_options: list[str], formats: list[str], predictions: bool) -> None:
    """Raise UserError where `--view` is none, or does not go together with other options."""
    from vit_tickets.pipeline.geometry.views import check_kind

    if view != "auto":
        check_kind(view)
    for name in crop_options:
        needed = "crops:" if name == "crop_ranks" else "crops"
        if not view.startswith(needed):
            either = "--view crops:V" if name == "crop_ranks" else "--view crops:V or crops-mean:V"
            raise UserError(f"--{name.replace('_', '-')}: expected {either}, found {view}")
    if predictions and view.startswith("crops"):
        raise UserError(f"--predictions: expected a view that shows each image once, found {view}")
    if "webdataset" in formats and view.startswith("crops:"):
        raise UserError(f"--format webdataset holds one ticket per image: expected another view, found {view}")


def check_cross_fit(method: str, weights: str | None) -> None:
    """Raise UserError for options that do not go together with `--cross-fit`."""
    if weights is not None:
        raise UserError(f"--cross-fit: expected the weights of its runs alone, found --weights {weights}")
    if not uses_selector(method):
        raise UserError(f"--cross-fit: expected a method that asks the selector, found {method}")


def parse_stages(text: str | None) -> tuple[int, ...] | None:
    """`4,7,10` as a tuple; None where nothing was given."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--stages: expected block numbers such as 4,7,10, found {text!r}") from None
