"""The verify command."""

from collections.abc import Iterable

import click

from vit_tickets.pipeline.commands.options import check_ticket
from vit_tickets.pipeline.system.errors import UserError, WorkFailed


@click.command()
@click.argument("path")
@click.option(
    "--dataset", help="Compare a manifest or label maps with this dataset, too: keys, labels, order and hashes."
)
@click.option("--parent", help="Of a weight ticket: the ticket that it is nested in.  [default: where it was]")
def verify(path: str, dataset: str | None, parent: str | None) -> None:
    """Check the dataset, manifest, label maps or weight ticket in the folder PATH, and print one line per fault.

    A dataset must hold exactly the tars that dataset.json lists, byte for byte. Every sample needs a unique key, an
    image and a valid class index. In a manifest, columns, types, provenance, ranks, tickets, random subsets, scores
    and sums are checked; in label maps columns, types, provenance, classes, logits and sums. In a weight ticket, masks,
    counts, hashes and weights are checked, and that it keeps no weight that its parent drops.

    The exit status is 0 if nothing is wrong, and 1 otherwise.

    \b
    vit-tickets verify data/digits
    vit-tickets verify manifests/digits-deit_micro-s0.75 --dataset data/digits
    vit-tickets verify manifests/labels/digits-deit_micro --dataset data/digits
    vit-tickets verify masks/digits-deit_micro-dense-seed0-w0.2
    """
    from vit_tickets.pipeline.datasets import shards
    from vit_tickets.pipeline.manifests import labels
    from vit_tickets.pipeline.manifests import manifest as manifests
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.verification.datasets import verify_dataset
    from vit_tickets.pipeline.verification.labels import verify_labels
    from vit_tickets.pipeline.verification.manifests import verify_manifest
    from vit_tickets.pipeline.weights.ticket import is_weight_ticket

    if is_weight_ticket(path):
        if dataset:
            raise UserError(f"--dataset: expected a manifest or label maps in PATH, found the weight ticket {path}")
        verify_weights(path, parent)
        return
    if parent:
        raise UserError(f"--parent: expected a weight ticket in PATH, found none in {path}")
    if files.exists(files.join(path, manifests.INDEX)):
        index, findings = files.join(path, manifests.INDEX), verify_manifest(path, dataset, progress=True)
        checked = "columns, provenance, ranks, tickets, random subsets, scores, sums"
    elif files.exists(files.join(path, labels.INDEX)):
        index, findings = files.join(path, labels.INDEX), verify_labels(path, dataset, progress=True)
        checked = "columns, provenance, classes, logits, sums"
    elif files.exists(shards.index_of(path)):
        if dataset:
            raise UserError(f"--dataset: expected a manifest or label maps in PATH, found the dataset {path}")
        index, findings = shards.index_of(path), verify_dataset(path, progress=True)
        checked = "files, hashes, counts, keys, images, labels"
    else:
        expected = "a dataset, a manifest, label maps or a weight ticket"
        check_ticket(path, expected)
        names = f"{shards.INDEX}, {manifests.INDEX} or {labels.INDEX}"
        raise UserError(f"expected {expected} in {path}, found no {names}")
    tell(path, findings)
    splits = files.read_json(index)["splits"]
    sizes = ", ".join(f"{name} {entry['samples']:,} images" for name, entry in splits.items())
    against = f"; compared with {dataset}" if dataset else ""
    click.echo(f"ok: {path}: {sizes}: {checked}{against}")


def tell(path: str, findings: Iterable[str]) -> None:
    """Print `findings`; raises WorkFailed where there are any."""
    count = 0
    for finding in findings:
        click.echo(finding)
        count += 1
    if count:
        raise WorkFailed(f"{path}: {count} finding{'s' if count > 1 else ''}")


def verify_weights(path: str, parent: str | None) -> None:
    """Check the weight ticket in the folder `path`; raises WorkFailed where something is wrong."""
    from vit_tickets.pipeline.verification.weights import parent_of, verify_weight_ticket
    from vit_tickets.pipeline.weights import ticket as tickets

    tell(path, verify_weight_ticket(path, parent))
    ticket = tickets.read(path)
    nested = ""
    if (above := parent_of(ticket, parent)) is not None:
        nested = f", nested in {above}"
    elif ticket.parent_sha256:
        nested = f"; its parent, masks {ticket.parent_sha256[:12]}, is not here: pass --parent to compare them"
    counted = f"{ticket.alive:,} of {ticket.size:,} weights alive in {len(ticket.counts)} layers"
    click.echo(f"ok: {path}: {counted}: masks, counts, hashes, weights{nested}")
