"""What a name says: the split that a file or folder belongs to, and what is no class."""

import re

from vit_tickets.pipeline.system import files

WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "eval"),
    "test": ("test", "testing"),
}
SPLITS = tuple(WORDS)
SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}

TARS = (".tar", ".tar.gz", ".tgz")
TABLES = (".parquet",)
#: Folders of pictures that are no class.
PICTURES = frozenset(
    {"images", "image", "imgs", "img", "jpegimages", "jpegs", "jpeg", "jpg", "png", "pictures", "data"}
)
#: Folders of what is said about pictures, which may be pictures, too.
ABOUT = frozenset(
    {
        *("annotation", "annotations", "bboxes", "gt", "ground_truth", "groundtruth", "labels", "masks", "trimaps"),
        *("segmentation", "segmentations", "segmentationclass", "segmentationobject"),
    }
)
#: Folders that other programs make.
FOREIGN = frozenset({"__MACOSX", "__pycache__", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"})


def words_in(name: str) -> list[str]:
    """The words for splits in a name, between `-`, `_`, `.`, digits and spaces: `["train"]` for `x_Train-000.tar`."""
    return [word for word in re.split(r"[\W\d_]+", name.lower()) if word in SPLIT_OF]


def splits_in(name: str) -> set[str]:
    """The splits that a name speaks of: empty for `latest-000.tar`."""
    return {SPLIT_OF[word] for word in words_in(name)}


def split_named(word: str) -> str:
    """Our name of a split that is called `word`: val for `Validation`; other words are their own name."""
    return SPLIT_OF.get(word.lower(), word)


def split_at_end(source: str) -> str | None:
    """The split that the name of a source ends with, as in `imagenet-val`, `cifar_test/` or `val`; else None."""
    name = stem(files.name_of(source))
    last = [word for word in re.split(r"[\W\d_]+", name.lower()) if word][-1:]
    found = splits_in(name)
    return found.pop() if len(found) == 1 and last[0] in SPLIT_OF else None


def stem(name: str) -> str:
    """The name of a file without the suffix of its kind."""
    suffix = next((suffix for suffix in (*TARS, *TABLES) if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def listed(names: list[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more:,} more"
