"""The other command of stage 1: labels."""

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.ticketgen.commands.options import CPU_BATCH, engine_options
from vit_tickets.ticketgen.engines import processor

GPU_BATCH = 64  # of larger networks and squares than a selector's


@click.command()
@click.argument("dataset")
@click.option(
    "--annotator",
    help="A timm classifier with a feature map, or the folder of a run.  [default: dm_nfnet_f6, as in the paper; on "
    "digits its own dense run]",
)
@click.option("--weights", help="Weights of the annotator: .safetensors or .pth.  [default: the hub's]")
@click.option("--out", help="The folder of label maps.  [default: manifests/labels/<dataset>-<annotator>]")
@click.option("--split", "splits", multiple=True, help="Label this split; may be given again.  [default: train]")
@click.option(
    "--image-size",
    type=click.IntRange(1),
    help="Side of the square that the annotator sees.  [default: what it is tested at; dm_nfnet_f6: 576]",
)
@engine_options("annotator", GPU_BATCH)
@overwrite_option
def labels(
    dataset, annotator, weights, out, splits, image_size, engine, ray_address, workers, batch_size, device, precision,
    max_pixels, overwrite,
):  # fmt: skip
    """Write the label map of every training image in DATASET, once, for training with token labels (LV-ViT).

    An annotator looks at each whole image, resized to a square, and says of every cell of its feature map which five
    classes it finds there and with what logits; training cuts the part that a crop shows. Its classes must be those
    of DATASET, in the same order. Interrupted, it goes on where it stopped: finished shards are skipped. Images that
    cannot be decoded keep a row with their error.

    \b
    vit-tickets labels data/imagenet
    vit-tickets labels data/imagenet --annotator resnet50 --precision bf16
    vit-tickets labels data/cifar10 --annotator runs/cifar10-resnet50-dense-seed0 --engine local
    vit-tickets verify manifests/labels/imagenet-dm_nfnet_f6 --dataset data/imagenet
    """
    from vit_tickets.pipeline.datasets.pack import open_or_build
    from vit_tickets.pipeline.runs.names import labels_name
    from vit_tickets.pipeline.system.locks import alone_in
    from vit_tickets.ticketgen.engines import opening as engines
    from vit_tickets.ticketgen.engines.work import Settings
    from vit_tickets.ticketgen.jobs import labels as label_job
    from vit_tickets.ticketgen.jobs.driver import stoppable_job
    from vit_tickets.ticketgen.selection.annotator import default_annotator, open_annotator

    opened = open_or_build(dataset)
    chosen = list(splits) or ["train"]
    for split in chosen:
        opened.shards(split)
    name = annotator or default_annotator(opened.source)
    spec = open_annotator(name, weights, image_size, len(opened.classes))
    click.echo(
        f"annotator: {name} ({spec.map_size} x {spec.map_size} cells of {spec.num_classes} classes at "
        f"{spec.image_size} px, weights {spec.weights_sha256[:12]})"
    )
    resolved = processor.resolve_device(device) if engine == "local" or ray_address is None else device
    settings = Settings(batch_size=batch_size or (CPU_BATCH if resolved == "cpu" else GPU_BATCH), max_pixels=max_pixels)
    folder = out or labels_name(opened.name, spec.model)
    request = label_job.LabelRequest(opened, spec, folder, chosen, settings, precision, overwrite)
    engine_of = engines.engine_of(engine, spec, settings, resolved, precision, workers, ray_address)
    with alone_in(folder), stoppable_job(overwrite) as summary:
        label_job.run(request, engine_of, summary=summary)
    click.echo(f"{folder}: {spec.places} classes per cell")
    click.echo(summary.told("labelled", settings.batch_size))
