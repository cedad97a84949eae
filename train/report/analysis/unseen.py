"""Images of a training split that could not be decoded, or have no ticket: how many, and which."""

from collections.abc import Sequence

from vit_tickets.pipeline.datasets.left_out import EXAMPLES, counted, undecodable
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.results import RunResult

TRAIN = "train"  # where a run does not say which split


def unseen(runs: Sequence[RunResult]) -> list[str]:
    """`train: 1 of 49 images cannot be decoded, and has no ticket: dog/broken`, of each dataset and manifest of `runs`.

    Nothing of a dataset or manifest that is gone.
    """
    trained = [run.config for run in runs if PATHS[run.path].is_trained]
    places = dict.fromkeys((of.root, of.split, of.tickets_dir) for of in trained)
    with_tickets = {(root, split) for root, split, tickets in places if tickets}
    sentences = []
    for root, split, tickets in places:
        if not tickets and (root, split) in with_tickets:
            continue
        try:
            sentences += _unseen(root, split or TRAIN, tickets)
        except UserError:
            continue
    return list(dict.fromkeys(sentences))


def _unseen(root: str | None, split: str, tickets: str | None) -> list[str]:
    broken = undecodable(files.join(root, split)) if root else []
    manifest = Manifest.open(tickets) if tickets else None
    record = manifest.ticket.splits.get(split) if manifest else None
    without = record.errors if record else 0
    said = []
    if manifest and record and without and without != len(broken):
        keys = _keys_without(manifest, split, min(EXAMPLES, without))
        said.append(_sentence(split, without, record.samples, _has(without, "no ticket"), keys))
    if root and broken:
        also = f", and {_has(without, 'no ticket')}" if without == len(broken) else ""
        total = Dataset.open(root).samples(split)
        said.append(_sentence(split, len(broken), total, f"cannot be decoded{also}", broken[:EXAMPLES]))
    return said


def _keys_without(manifest: Manifest, split: str, most: int) -> list[str]:
    keys: list[str] = []
    for _, table in manifest.read_files(split, ["key", "error"]):
        keys += table.filter(table["error"].is_valid())["key"].to_pylist()
        if len(keys) >= most:
            break
    return keys[:most]


def _has(count: int, what: str) -> str:
    return f"{'has' if count == 1 else 'have'} {what}"


def _sentence(split: str, count: int, total: int, said: str, names: list[str]) -> str:
    more = ", ..." if count > len(names) else ""
    return f"{split}: {count:,} of {counted(total, 'image')} {said}: {', '.join(names)}{more}"
