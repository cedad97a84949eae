"""The command that compares runs: report."""

import click

from vit_tickets.pipeline.system.errors import UserError


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--out", help="Folder for report.md, report.json and report.png.  [default: report, beside the first]")
@click.option(
    "--weak-baseline",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Dense accuracy below which a verdict is labelled `weak baseline`.  [default: 90 for cifar10 and digits]",
)
@click.option("--html", is_flag=True, help="Also write report.html: one page that needs no network, with a gallery.")
@click.option(
    "--gallery",
    type=click.IntRange(0),
    metavar="N",
    help="Number of images on the page, if the runs' dataset and tickets still exist.  [default: 60]",
)
def report(
    runs: tuple[str, ...], out: str | None, weak_baseline: float | None, html: bool, gallery: int | None
) -> None:
    """Compare RUNS: accuracy trained on {dense, lt, rc, small} x tested on {dense, lt, rc}, cost, and the verdict.

    A RUN is the folder of a run that `vit-tickets evaluate` has scored, or a folder that `evaluate --out` wrote.

    \b
    vit-tickets report runs/digits-deit_micro-*
    vit-tickets report runs/digits-deit_micro-* --html --gallery 200
    """
    if gallery is not None and not html:
        raise UserError("--gallery: expected --html with it, found none")
    from vit_tickets.train.report.report import report as compare

    click.echo(compare(list(runs), out, weak_baseline, html, gallery).text)
