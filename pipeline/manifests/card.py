"""README.md of a manifest: how to read it, and which configurations `datasets.load_dataset` finds in it."""

from vit_tickets.pipeline.manifests import contract
from vit_tickets.pipeline.manifests.manifest import INDEX, Manifest
from vit_tickets.pipeline.system import files

CARD = "README.md"

TEXT = """
# Tickets of {dataset}

{held}

{splits}

```python
import pandas as pd
from datasets import load_dataset

tickets = pd.read_parquet("{first}")  # one split: a folder of Parquet files
{load}
```

[`{index}`]({index}) says what was made, from what, and by what. Every column is documented in `manifests/README.md` of
vit-tickets, which wrote this folder. A ticket belongs to the pixels of its `view`, not to the stored image.
"""


LISTS = """
Which patches of every image of `{dataset}` are most informative (`lt`, method {method}, selector `{selector}`), and a
random subset of the same size (`rc`).
""".strip()
MASKS = """
Which patches of every image of `{dataset}` are most informative (method {method}, selector `{selector}`): `mask` has a
bit for each patch (of view `crops:V` a list, a mask for each crop), which NumPy reads by
`np.unpackbits(np.frombuffer(mask, np.uint8), count=N, bitorder="little")`.
""".strip()


def write_card(manifest: Manifest) -> None:
    """Write MANIFEST/README.md, unless it says the same already."""
    path, text = files.join(manifest.root, CARD), card(manifest).encode()
    if not files.exists(path) or files.read_bytes(path) != text:
        with files.atomic_write(path) as stream:
            stream.write(text)


def card(manifest: Manifest, splits: list[str] | None = None, index: str = INDEX, masks: bool = False) -> str:
    """The card of a finished manifest: one configuration for all splits where their columns agree, else one for each.

    Splits differ where only one of them has stored crops, or a grid of more than 256 cells.

    Args:
        manifest: what it describes.
        splits: some of its splits; None for all.
        index: name of the file with its provenance.
        masks: whether its rows hold tickets as packed bits instead of lists.
    """
    splits = splits or manifest.splits
    schemas = [contract.schema((layout := manifest.layout(split)).row, layout) for split in splits]
    crops = {bool(manifest.layout(split).num_views) for split in splits}
    if len(crops) == 1 if masks else all(schema == schemas[0] for schema in schemas):
        configs = {"default": splits}
        load = f'tickets = load_dataset("{{FOLDER}}", split="{splits[0]}")'
    else:
        configs = {split: [split] for split in splits}
        load = f'tickets = load_dataset("{{FOLDER}}", "{splits[0]}", split="{splits[0]}")'
    lines = ["---", "configs:"]
    for name, members in configs.items():
        lines += [f"- config_name: {name}", *(["  default: true"] if name == splits[0] else []), "  data_files:"]
        for split in members:
            lines += [f"  - split: {split}", f'    path: "{split}/*.parquet"']
    ticket = manifest.ticket
    named = {"dataset": ticket.dataset, "method": ticket.method_name, "selector": ticket.selector}
    text = TEXT.format(
        dataset=ticket.dataset,
        splits="\n".join(_line(manifest, split) for split in splits),
        first=f"FOLDER/{splits[0]}",
        load=load.format(FOLDER="FOLDER"),
        index=index,
        held=(MASKS if masks else LISTS).format(**named),
    )
    return "\n".join([*lines, "---"]) + text


def _line(manifest: Manifest, split: str) -> str:
    record = manifest.split_record(split)
    kept = f"{manifest.kept_of(split)} of {manifest.num_patches_of(split)} patches"
    return f"- `{split}`: {record.samples:,} images, {record.errors:,} without a ticket; {kept}, view `{record.view}`"
