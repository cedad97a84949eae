"""The command of stage 1 for label maps: labels."""

from dataclasses import dataclass
from typing import Any

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.system.fields import COUNT, click_options, option, parsed
from vit_tickets.ticketgen.commands.options import ANNOTATOR_BATCH, EngineOptions, check_weights


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """The options of `labels`, apart from those of the engine."""

    annotator: str | None = option(
        "A timm classifier with a feature map, or the folder of a run.  [default: dm_nfnet_f6, as in the paper; on "
        "digits its own dense run]",
        default=None,
    )
    weights: str | None = option("Weights of the annotator: .safetensors or .pth.  [default: the hub's]", default=None)
    weights_key: str | None = option(
        "Of a file with several sets of weights the one to take, such as model_ema.  [default: averaged (EMA) weights, "
        "where there are any]",
        default=None,
        metavar="NAME",
    )
    out: str | None = option(
        "The folder of label maps.  [default: manifests/labels/<dataset>-<annotator>]", default=None
    )
    splits: tuple[str, ...] = option(
        "Label this split; may be given again.  [default: train]", default=(), flag="--split", type=str, multiple=True
    )
    image_size: int | None = option(
        "Side of the square that the annotator sees.  [default: what it is tested at; dm_nfnet_f6: 576]",
        default=None,
        type=COUNT,
    )


@click.command()
@click.argument("dataset")
@click_options(LabelOptions)
@click_options(EngineOptions)
@overwrite_option
def labels(dataset: str, overwrite: bool, **values: Any) -> None:
    """Write the label map of every training image in DATASET, once, for training with token labels (LV-ViT).

    An annotator sees each whole image, resized to a square, and gives the five best classes and their logits for every
    cell of its feature map; training cuts out the part that a crop shows. Its classes must be those of DATASET, in the
    same order. An interrupted call is resumed by repeating it: finished shards are skipped. Images that cannot be
    decoded keep a row with their error.

    \b
    vit-tickets labels data/imagenet
    vit-tickets labels data/imagenet --annotator resnet50 --precision bf16
    vit-tickets labels data/cifar10 --annotator runs/cifar10-resnet50-dense-seed0
    vit-tickets verify manifests/labels/imagenet-dm_nfnet_f6 --dataset data/imagenet
    """
    from vit_tickets.pipeline.datasets.pack import open_or_build
    from vit_tickets.pipeline.manifests.labels import INDEX
    from vit_tickets.pipeline.runs.names import labels_name
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.locks import alone_in
    from vit_tickets.ticketgen.jobs.places import at_place, check_out

    options, engine = parsed(LabelOptions, values), parsed(EngineOptions, values)
    opened = at_place(open_or_build(dataset))
    splits = list(options.splits) or ["train"]
    for split in splits:
        opened.shards(split)
    if options.out is not None:
        check_out(options.out, opened, INDEX)
    check_weights(options.weights)
    from vit_tickets.ticketgen.jobs import labels as label_job
    from vit_tickets.ticketgen.jobs.driver import stoppable_job
    from vit_tickets.ticketgen.selection.annotator import default_annotator, open_annotator

    engine.check_device()
    name = options.annotator or default_annotator(opened.source)
    spec = open_annotator(name, options.weights, options.image_size, len(opened.classes), options.weights_key)
    click.echo(
        f"annotator: {name} ({spec.map_size} x {spec.map_size} cells of {spec.num_classes} classes at "
        f"{spec.image_size} px, weights {spec.weights_sha256[:12]})"
    )
    opener = engine.opener(spec, ANNOTATOR_BATCH)
    folder = options.out or labels_name(opened.name, spec.model)
    check_out(folder, opened, INDEX)
    request = label_job.LabelRequest(
        opened, spec, files.absolute(folder), splits, engine.max_pixels, engine.precision, overwrite
    )
    with alone_in(folder), stoppable_job(overwrite) as summary:
        label_job.run(request, opener, summary=summary)
    click.echo(f"{folder}: {spec.places} classes per cell")
    click.echo(summary.summary_line("a label map", folder))
