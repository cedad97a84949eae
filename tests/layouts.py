"""Public data sets as people have them on disk: real names, real forms, a few small images.

Each maker writes below `root`, which it makes, and returns it.
"""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.helpers import encode, png, write_folder, write_parquet

WNIDS = ("n01440764", "n01443537", "n01484850")


def jpeg(seed: int, side: int = 16) -> bytes:
    return encode(Image.open(io.BytesIO(png(seed, side, side))), "JPEG")


def pictures(folder: Path, names: Iterable[str], first: int = 0) -> Path:
    """JPEGs in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names, first):
        (folder / name).write_bytes(jpeg(seed))
    return folder


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def tar(path: Path, members: dict[str, bytes]) -> Path:
    """A plain tar of `members`, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def kaggle_imagenet(root: Path) -> Path:
    """Kaggle's imagenet-object-localization-challenge: classes in train; val and test flat, labels in a CSV."""
    data, boxes = root / "ILSVRC" / "Data" / "CLS-LOC", root / "ILSVRC" / "Annotations" / "CLS-LOC"
    for label, wnid in enumerate(WNIDS):
        pictures(data / "train" / wnid, [f"{wnid}_{n}.JPEG" for n in (18, 10026, 7)], 3 * label)
        text(boxes / "train" / wnid / f"{wnid}_18.xml", "<annotation></annotation>")
    val = [f"ILSVRC2012_val_{n:08d}" for n in range(1, 7)]
    pictures(data / "val", [f"{name}.JPEG" for name in val], 20)
    pictures(data / "test", [f"ILSVRC2012_test_{n:08d}.JPEG" for n in range(1, 5)], 30)
    for name in val:
        text(boxes / "val" / f"{name}.xml", "<annotation></annotation>")
    for split in ("train_cls", "train_loc", "val", "test"):
        text(root / "ILSVRC" / "ImageSets" / "CLS-LOC" / f"{split}.txt", "n01440764/n01440764_18 1\n")
    rows = [f"{name},{WNIDS[n % 3]} 111 108 441 381 " for n, name in enumerate(val)]
    text(root / "LOC_val_solution.csv", "ImageId,PredictionString\n" + "\n".join(rows) + "\n")
    text(root / "LOC_synset_mapping.txt", "".join(f"{wnid} tench, Tinca tinca\n" for wnid in WNIDS))
    text(root / "LOC_sample_submission.csv", "ImageId,PredictionString\nILSVRC2012_test_00000001,\n")
    text(root / "LOC_train_solution.csv", "ImageId,PredictionString\nn01440764_18,n01440764 13 22 485 417 \n")
    return root


def tiny_imagenet(root: Path) -> Path:
    """Tiny-ImageNet: train/CLASS/images with boxes beside; val and test flat in images/, labels in val_annotations."""
    for label, wnid in enumerate(WNIDS):
        pictures(root / "train" / wnid / "images", [f"{wnid}_{n}.JPEG" for n in range(4)], 4 * label)
        text(root / "train" / wnid / f"{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    pictures(root / "val" / "images", [f"val_{n}.JPEG" for n in range(6)], 20)
    rows = [f"val_{n}.JPEG\t{WNIDS[n % 3]}\t0\t32\t44\t62\n" for n in range(6)]
    text(root / "val" / "val_annotations.txt", "".join(rows))
    pictures(root / "test" / "images", [f"test_{n}.JPEG" for n in range(5)], 30)
    text(root / "wnids.txt", "\n".join(WNIDS) + "\n")
    text(root / "words.txt", "".join(f"{wnid}\tsome words\n" for wnid in WNIDS))
    return root


def hf_imagenet(root: Path) -> Path:
    """Hugging Face's imagenet-1k: three splits of Parquet in data/; test has no labels, which are -1."""
    names = ["tench, Tinca tinca", "goldfish", "great white shark"]
    write_parquet(root / "data" / "train-00000-of-00002.parquet", [0, 1, 2, 0], names)
    write_parquet(root / "data" / "train-00001-of-00002.parquet", [2, 1, 0], names)
    write_parquet(root / "data" / "validation-00000-of-00001.parquet", [0, 1, 2], names)
    write_parquet(root / "data" / "test-00000-of-00001.parquet", [-1, -1], names)
    text(root / "README.md", "---\nlicense: other\n---\n")
    return root


def wds_members(labels: Iterable[int], stem: str, first: int = 0) -> dict[str, bytes]:
    """Members of a shard of WebDataset: .cls and .jpg of each sample."""
    members = {}
    for seed, label in enumerate(labels, first):
        members[f"{stem}{seed:08d}.cls"] = str(label).encode()
        members[f"{stem}{seed:08d}.jpg"] = jpeg(seed)
    return members


def timm_shards(root: Path, info: bool = True) -> Path:
    """timm/imagenet-1k-wds: shards of both splits side by side, listed in _info.json."""
    shards = {
        "train": {"imagenet1k-train-0000.tar": [0, 1, 2], "imagenet1k-train-0001.tar": [2, 0]},
        "validation": {"imagenet1k-validation-00.tar": [0, 1, 2, 1]},
    }
    first = 0
    for split, files in shards.items():
        for name, labels in files.items():
            tar(root / name, wds_members(labels, f"{split}_", first))
            first += len(labels)
    splits = {
        split: {
            "name": split,
            "filenames": list(files),
            "shard_lengths": [len(labels) for labels in files.values()],
            "num_samples": sum(map(len, files.values())),
        }
        for split, files in shards.items()
    }
    if info:
        text(root / "_info.json", json.dumps({"splits": splits}))
    text(root / "README.md", "---\nlicense: other\n---\n")
    return root


def hf_cifar100(root: Path) -> Path:
    """Hugging Face's cifar100: the config cifar100/, columns img, fine_label, coarse_label."""
    fine, coarse = [f"fine_{n}" for n in range(4)], ["aquatic_mammals", "fish"]
    features = {
        "img": {"_type": "Image"},
        "fine_label": {"names": fine, "_type": "ClassLabel"},
        "coarse_label": {"names": coarse, "_type": "ClassLabel"},
    }
    for split, labels in (("train", [0, 1, 2, 3, 0]), ("test", [3, 2, 1])):
        table = pa.table(
            {
                "img": [{"bytes": png(seed, 32, 32), "path": None} for seed in range(len(labels))],
                "fine_label": pa.array(labels, pa.int64()),
                "coarse_label": pa.array([label // 2 for label in labels], pa.int64()),
            }
        ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path = root / "cifar100" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    text(root / "README.md", "---\nlicense: unknown\n---\n")
    return root


def img2dataset(root: Path) -> Path:
    """What img2dataset writes: shards without .cls, each with a table and statistics beside it; labels in .json."""
    for shard, labels in enumerate(([0, 1, 2], [1, 0])):
        members, records = {}, []
        for index, label in enumerate(labels):
            key = f"{shard:05d}{index:04d}"
            record = {"caption": f"class {label}", "url": f"http://x/{key}", "key": key, "status": "success"}
            record |= {"label": label, "width": 16, "height": 16, "error_message": None}
            members[f"{key}.jpg"] = jpeg(10 * shard + index)
            members[f"{key}.json"] = json.dumps(record).encode()
            members[f"{key}.txt"] = record["caption"].encode()
            records.append(record)
        tar(root / f"{shard:05d}.tar", members)
        pq.write_table(pa.Table.from_pylist(records), root / f"{shard:05d}.parquet")
        text(root / f"{shard:05d}_stats.json", json.dumps({"count": len(labels), "successes": len(labels)}))
    return root


def imagenet_v2(root: Path, classes: int = 12) -> Path:
    """ImageNetV2: folders 0 to 999, here 0 to `classes` - 1, with two images each."""
    for label in range(classes):
        pictures(root / str(label), [f"{label:040x}.jpeg", f"f{label:039x}.jpeg"], 2 * label)
    return root


def with_valid(root: Path) -> Path:
    """An image folder as roboflow and Kaggle have them: train, valid, test, and leftovers of the tools around."""
    write_folder(root / "train", {"cat": 3, "dog": 2})
    write_folder(root / "valid", {"cat": 1, "dog": 2}, first=10)
    write_folder(root / "test", {"cat": 1, "dog": 1}, first=20)
    text(root / "README.roboflow.txt", "exported")
    text(root / ".DS_Store", "")
    text(root / "train" / "Thumbs.db", "")
    text(root / "train" / ".ipynb_checkpoints" / "cat_00-checkpoint.png", "")
    pictures(root / "__MACOSX" / "train" / "cat", ["._cat_00.jpg"])
    return root


def dtd(root: Path) -> Path:
    """DTD, Food-101 and CUB: classes in images/, lists of the splits in other folders."""
    write_folder(root / "images", {"banded": 2, "blotchy": 2})
    text(root / "labels" / "train1.txt", "banded/banded_00.png\n")
    text(root / "imdb" / "imdb.mat", "")
    return root


def places365(root: Path) -> Path:
    """Places365: class folders two and three levels deep, below their first letter."""
    for at, name in enumerate(("a/abbey", "a/apartment_building/outdoor", "b/bakery/shop")):
        pictures(root / name, ["00000001.jpg", "00000002.jpg"], 2 * at)
    return root


EIGHT = {
    "kaggle-imagenet": kaggle_imagenet,
    "tiny-imagenet-200": tiny_imagenet,
    "imagenet-1k": hf_imagenet,
    "imagenet-1k-wds": timm_shards,
    "cifar100": hf_cifar100,
    "img2dataset": img2dataset,
    "imagenetv2-matched-frequency-format-val": imagenet_v2,
    "photos": with_valid,
}
