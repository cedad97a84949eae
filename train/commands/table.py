"""The command that makes the paper's table: table."""

import click

from vit_tickets.pipeline.commands.fields import COUNT
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.commands.plan_options import CIRCUMSTANCES, counted, labels_from, models_of, parse_train_options
from vit_tickets.train.report.analysis.paper import MODELS


@click.command()
@click.argument("dataset")
@click.argument("train_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRAIN OPTIONS]")
@click.option(
    "--models", default=",".join(MODELS), show_default=True, help="What to train, as `train --model` has it; a list."
)
@click.option("--keep-rate", help="Share that each stage keeps, of all models; a list.  [default: the paper's, or 0.9]")
@click.option("--sparsity", help="Instead: the share of patches to drop; a list.")
@click.option("--seeds", type=COUNT, default=1, show_default=True, help="Runs of every path: seeds 0, 1, ...")
@click.option("--selector", help="Of the tickets: a timm ViT or a finished run.  [default: as `generate`]")
@click.option("--weights", help="Of the selector: a file instead of the hub's weights.")
@click.option(
    "--labels",
    help="For models that classify every token (LV-ViT): who makes label maps, as `labels --annotator` has it, or "
    "a folder of finished ones.  [default: none; the class label stands for every token]",
)
@click.option("--epochs", type=COUNT, help="Of every run.  [default: the recipe's]")
@click.option("--recipe", help="Of every run.  [default: by dataset and model]")
@click.option("--engine", type=click.Choice(["ray", "local"]), help="Of tickets and label maps.  [default: ray]")
@click.option("--gpus", type=COUNT, default=1, show_default=True, help="Processes that train a model, by torchrun.")
@click.option("--out", help="The table's folder, with all that it is made from.  [default: runs/table-<dataset>]")
@click.option("--dry-run", is_flag=True, help="Only list the steps, and which of them are done.")
def table(
    dataset, train_options, models, keep_rate, sparsity, seeds, selector, weights, labels, epochs, recipe, engine, gpus,
    out, dry_run,
):  # fmt: skip
    """Make the paper's table on DATASET: models on tickets and random subsets, beside the paper's figures.

    For every model and keep rate it selects the tickets, trains dense, lt and rc, evaluates and reports, each by the
    command of that name. What is done is not done again, what was interrupted goes on: stopped or killed, type the
    same command. OUT/table.md and OUT/table.json hold the table. What stands behind -- goes to every `train`, for
    instance --batch-size, --limit, --workers or --device; generate and evaluate follow --device.

    \b
    vit-tickets table data/imagenet --models swin_t,resnet50 --gpus 8
    vit-tickets table data/cifar10 --models deit_s --keep-rate 0.9,0.8 --seeds 3 -- --image-size 32 --patch-size 4
    """
    given = {"--epochs": epochs, "--recipe": recipe}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    options += train_options
    parsed = parse_train_options(dataset, options)
    from vit_tickets.pipeline.datasets import shards
    from vit_tickets.pipeline.datasets.pack import open_or_build
    from vit_tickets.pipeline.networks import registry
    from vit_tickets.pipeline.runs.names import default_selector
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.locks import alone_in
    from vit_tickets.pipeline.system.redaction import without_secrets
    from vit_tickets.train.report.rendering import paper_table as rendering
    from vit_tickets.train.sweep import steps as planned
    from vit_tickets.train.sweep import table as tables
    from vit_tickets.train.sweep.process import Runner

    opened = open_or_build(dataset)
    budgets = budgets_of(models, keep_rate, sparsity)
    for model in budgets:
        registry.check_model(model)
    out = out or f"runs/table-{opened.name}"
    if not files.is_local(out):
        raise UserError(f"--out: expected a folder of this machine, found {out}")
    selector = selector or default_selector(opened.source)
    annotator, labels_dir = labels_from(labels, list(budgets), out)
    request = tables.Request(
        dataset=opened.root, name=opened.name, out=out, budgets=budgets, selector=selector, seeds=seeds,
        weights=weights, engine=engine, annotator=annotator, labels_dir=labels_dir, gpus=gpus,
        train_options=tuple(options), device=parsed.get("device"), workers=parsed.get("workers"),
    )  # fmt: skip
    record = without_secrets(
        {
            "format_version": planned.FORMAT_VERSION,
            "dataset": opened.name,
            "dataset_sha256": shards.sha256_of(files.join(opened.root, shards.INDEX)),
            "selector": selector,
            "weights": weights,
            "labels": labels,
            "train": {name: value for name, value in parsed.items() if name not in CIRCUMSTANCES},
        }
    )
    steps = tables.plan(request)
    done = [step.is_done() for step in steps]
    if any(done):  # what failed before it made anything binds nobody
        planned.check_request(out, record, "table")
    rows = sum(map(len, budgets.values()))
    click.echo(
        f"{out}: {', '.join(budgets)} on {opened.name}, {counted(rows, 'row')}; {sum(done)} of "
        f"{counted(len(steps), 'step')} done already"
    )
    if dry_run:
        for number, (step, is_done) in enumerate(zip(steps, done, strict=True), start=1):
            click.echo(f"[{number}/{len(steps)}] {step.title}: {'done' if is_done else planned.typed(step)}")
        return
    with alone_in(out):
        files.write_json(files.join(out, planned.REQUEST), record)
        Runner(gpus, click.echo).run(steps, done)
        made = [
            rendering.make_row(model, budget, request.group(model, budget), request.report(model, budget))
            for model, of_model in budgets.items()
            for budget in of_model
        ]
        click.echo("\n" + rendering.write(out, opened.name, made))


def budgets_of(models: str, keep_rate: str | None, sparsity: str | None) -> dict:
    """The budgets of every model of the list `models`: those that are given, or the paper's."""
    from vit_tickets.pipeline.geometry.patches import Budget, check_one, parse_budgets
    from vit_tickets.train.report.analysis.paper import keep_rates

    names = models_of(models)
    check_one(sparsity, keep_rate)
    if sparsity or keep_rate:
        return dict.fromkeys(names, tuple(parse_budgets(sparsity, keep_rate)))
    return {name: tuple(Budget(keep_rate=rate) for rate in keep_rates(name)) for name in names}
