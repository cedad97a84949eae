"""The command that compares runs: report."""

import click

from vit_tickets.pipeline.system.errors import UserError


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--out", help="Folder of report.md, .json, .csv, .tex, .png, .svg.  [default: report, beside the first]")
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
@click.option(
    "--class-names",
    metavar="FILE",
    help="What the page calls classes: a file of one name per line in their order, or of `id name` pairs such as "
    "WordNet's synset_words.txt, or JSON such as ImageNet's class index.",
)
def report(
    runs: tuple[str, ...],
    out: str | None,
    weak_baseline: float | None,
    html: bool,
    gallery: int | None,
    class_names: str | None,
) -> None:
    """Compare RUNS: accuracy trained on {dense, lt, rc, small} x tested on {dense, lt, rc}, cost, and the verdict.

    A RUN is the folder of a run that `vit-tickets evaluate` has scored, or a folder that `evaluate --out` wrote.

    \b
    vit-tickets report runs/digits-deit_micro-*
    vit-tickets report runs/digits-deit_micro-* --html --gallery 200
    """
    for name, given in (("--gallery", gallery), ("--class-names", class_names)):
        if given is not None and not html:
            raise UserError(f"{name}: expected --html with it, found none")
    from vit_tickets.train.report.report import report as compare

    click.echo(compare(list(runs), out, weak_baseline, html, gallery, class_names).text)
