"""WebDataset shards and the `dataset.json` that lists them, as `pack` writes them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field

from vit_tickets.pipeline.datasets.index import VERSION, DatasetRecord, HeldOut, Shard, read_shards
from vit_tickets.pipeline.datasets.left_out import LeftOut
from vit_tickets.pipeline.datasets.tar_files import HashedStream, read_tar, reported
from vit_tickets.pipeline.geometry.images import SUFFIXES
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

INDEX = "dataset.json"
MAX_CLASSES = 1 << 20  # without class names, the highest label is taken to be the last class


@dataclass(frozen=True)
class Sample:
    """One image of a shard: its key, its class index and its unchanged bytes."""

    key: str
    label: int | None
    data: bytes | None
    suffix: str = "jpg"


@dataclass(frozen=True)
class Dataset:
    """A folder of shards: `Dataset.open(path)`."""

    #: what opens it: the folder, or an index that lies elsewhere
    root: str
    name: str
    classes: list[str]
    source: str
    splits: dict[str, list[Shard]] = field(default_factory=dict)
    #: what the source held of each split that was not packed
    left_out: dict[str, list[LeftOut]] = field(default_factory=dict)
    #: what the source held that belongs to no split
    passed_over: list[LeftOut] = field(default_factory=list)
    #: the folder of the tars, if `root` is an index
    tars: str | None = None
    #: the splits that are a part of what the source has as another
    held_out: dict[str, HeldOut] = field(default_factory=dict)
    #: the splits whose larger images were shrunk, with their shorter side in pixels
    shorter_side: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, root: str) -> "Dataset":
        """Read dataset.json, in the folder `root` or as the file `root`, which then says where the tars are.

        Raises UserError if it is missing, malformed or of an unknown version.
        """
        record, path, splits = read_record(root), index_of(root), {}
        for split, entry in record.splits.items():
            try:
                splits[split] = read_shards(entry.shards)
            except UserError as error:
                raise UserError(f"{path}: {split}: {error}") from None
        left_out = {split: entry.left_out for split, entry in record.splits.items() if entry.left_out}
        held_out = {split: entry.held_out for split, entry in record.splits.items() if entry.held_out}
        shrunk = {split: entry.shorter_side for split, entry in record.splits.items() if entry.shorter_side}
        about = (record.name, record.classes, record.source, splits, left_out, record.left_out, record.root)
        return cls(root, *about, held_out, shrunk)

    def save(self) -> None:
        """Write dataset.json."""
        splits = {
            split: {
                "samples": sum(shard.samples for shard in shards),
                "shards": [asdict(shard) for shard in shards],
            }
            | ({"left_out": [asdict(entry) for entry in left_out]} if (left_out := self.left_out.get(split)) else {})
            | ({"held_out": asdict(held_out)} if (held_out := self.held_out.get(split)) else {})
            | ({"shorter_side": side} if (side := self.shorter_side.get(split)) else {})
            for split, shards in self.splits.items()
        }
        record = {"name": self.name, "classes": self.classes, "source": self.source, "version": VERSION}
        beside = {"left_out": [asdict(entry) for entry in self.passed_over]} if self.passed_over else {}
        beside |= {"root": self.tars} if self.tars else {}
        files.write_json(index_of(self.root), record | {"splits": splits} | beside)

    def shards(self, split: str) -> list[Shard]:
        """The shards of `split`, in order. Raises UserError if there is no such split."""
        if split not in self.splits:
            raise UserError(f"{self.root}: expected a split {split!r}, found {', '.join(self.splits)}")
        return self.splits[split]

    def samples(self, split: str) -> int:
        """Number of samples in `split`."""
        return sum(shard.samples for shard in self.shards(split))

    def head(self, split: str) -> Iterator[Sample]:
        """The samples of the first shard of `split`, in order."""
        for shard in self.shards(split)[:1]:
            yield from read_shard(self.path_of(shard))

    def path_of(self, shard: Shard) -> str:
        return files.join(self.tars or self.root, shard.file)


def read_record(root: str) -> DatasetRecord:
    """dataset.json, with shards unread. Raises UserError if it is missing, malformed or of another version."""
    path = index_of(root)
    if not files.exists(path):
        found = "no such file" if path == root else f"no {INDEX} in {root}"
        packs = f"; of images in it, `vit-tickets pack {root} data/{files.name_of(files.absolute(root))}` writes one"
        raise UserError(
            f"expected a dataset written by `vit-tickets pack`, found {found}{packs if files.is_dir(root) else ''}"
        )
    content = files.read_json(path)
    try:
        record = DatasetRecord.read(content)
        if (path == root) != (record.root is not None):
            expected = "its root, the folder of the tars" if path == root else "no root in the folder of the tars"
            raise UserError(f"expected {expected}, found {record.root or 'none; give the folder'}")
        return record
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def index_of(root: str) -> str:
    """The index of the dataset `root`: dataset.json in it, or `root` itself if it is such a file."""
    return root if root.lower().endswith(".json") and not files.is_dir(root) else files.join(root, INDEX)


def read_shard(path: str) -> Iterator[Sample]:
    """The samples of the tar at `path`, in order.

    Raises UserError if the tar cannot be read to its end or a key has two images.
    """
    for fields in read_members(path):
        suffix = image_suffix(fields, path)
        yield Sample(
            key=fields["__key__"],
            label=parse_label(fields.get("cls")),
            data=None if suffix is None else fields[suffix],
            suffix=suffix or "jpg",
        )


def image_suffix(fields: dict, path: str) -> str | None:
    """The suffix of the image among the members of a sample, such as `jpg`, or `image.jpg` if it is the only one.

    None without an image. Raises UserError for two images.
    """
    found = [name for name in fields if name in SUFFIXES]
    found = found or [name for name in fields if name.rpartition(".")[2] in SUFFIXES]
    if len(found) > 1:
        raise UserError(f"{path}: expected one image for {fields['__key__']}, found {' and '.join(found)}")
    return found[0] if found else None


def read_members(path: str) -> Iterator[dict]:
    """The samples of the tar at `path` as webdataset groups them: `__key__`, and the bytes for each suffix.

    Raises UserError if the tar cannot be read to its end. Compressed tars and sparse members are refused, because a few
    bytes could expand to any size.
    """
    return _grouped(path, lambda _: True)


def read_keys(path: str) -> list[str]:
    """The keys of `read_shard(path)`. In a local tar, only the headers are read."""
    return [member["__key__"] for member in _grouped(path, lambda _: False)]


def _grouped(path: str, wanted: Callable[[str], bool]) -> Iterator[dict]:
    from webdataset.tariterators import group_by_keys  # imports torch

    members = read_tar(path, wanted)
    with reported(path):
        yield from group_by_keys({"fname": name, "data": data, "__url__": path} for name, data in members)


def parse_label(text: bytes | None) -> int | None:
    """The class index in a `.cls` member; None if it is missing or not a 32-bit integer."""
    try:
        label = None if text is None else int(text)
    except ValueError:
        return None
    return label if label is None or -(1 << 31) <= label < 1 << 31 else None


def write_tar(path: str, members: Iterable[dict]) -> tuple[int, int, str]:
    """Write webdataset samples (`__key__`, and bytes for each suffix) as one tar. Equal samples give equal bytes.

    Returns the number of samples, the size of the tar in bytes, and its SHA-256.
    """
    from webdataset.writer import TarWriter

    count = 0
    with files.atomic_write(path) as stream:
        hashed = HashedStream(stream)
        with TarWriter(hashed, encoder=False, mtime=0, format="PAX_FORMAT") as writer:
            for member in members:
                writer.write(member)
                count += 1
    return count, hashed.length, hashed.hexdigest()


def write_shard(root: str, file: str, samples: Iterable[Sample]) -> Shard:
    """Write `samples` as the tar `root`/`file` and return its index entry."""
    members = ({"__key__": s.key, s.suffix: s.data, "cls": str(s.label).encode()} for s in samples)
    return Shard(file, *write_tar(files.join(root, file), members))


def sha256_of(path: str) -> str:
    """SHA-256 of the file at `path`, as 64 hexadecimal digits."""
    with files.open_read(path) as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
