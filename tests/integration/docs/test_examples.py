"""Every example of README.md, docs/*.md, manifests/README.md and of each --help runs, as printed but for SMALLER.

The pages are one story: their blocks run in one folder, where each line finds what those before it made. The blocks
that pack come first, then what READER has. An example of a help text runs alone, beside what the story made. What
cannot run here is in EXCEPTIONS; a new example that is not there has to run. Lines of make: test_makefile.py.
"""

import contextlib
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.examples import ALL, ALONE, BLOCKS, EXCEPTIONS, FINDS, READER, SMALLER, SOURCES, STORY, smaller
from tests.helpers import encode, write_folder, write_parquet, write_tars
from tests.integration.docs.test_docs import PAGES, README
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets import digits
from vit_tickets.pipeline.networks.registry import create_model

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(1800)]  # the first runs whole pages
CUT, *PICTURE = re.findall(r"```python\n(.*?)```", PAGES["docs/results.md"], flags=re.S)
NOTHING_DONE = re.compile("finished already|were there already")


def run(line: str, folder: Path) -> str:
    """What the example says in `folder`, made smaller; fails unless it exits with 0 and does something."""
    line = smaller(line)
    program, *words = shlex.split(line)
    with contextlib.chdir(folder):
        words = [name for word in words for name in (sorted(glob.glob(word)) or [word])]
        if program == "vit-tickets":
            done = CliRunner().invoke(main, words)
            status, said = done.exit_code, f"{done.output}{done.exception or ''}"
        else:
            assert program == "torchrun", f"{line}: neither run nor among EXCEPTIONS"
            launched = [sys.executable, "-m", "torch.distributed.run", *words]
            ended = subprocess.run(launched, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            status, said = ended.returncode, ended.stdout
    assert status == 0, f"{line}\n{said}"
    assert not NOTHING_DONE.search(said), f"{line}\n{said}"
    return said


VOC = """<annotation><size><width>280</width><height>260</height></size><object><bndbox>
<xmin>70</xmin><ymin>65</ymin><xmax>210</xmax><ymax>195</ymax></bndbox></object></annotation>"""


def bring_scores(root: Path, classes: list[str]) -> None:
    """Boxes, heat maps and names of classes for the images of `imagenet`, whose splits share keys."""
    (root / "synset_words.txt").write_text("".join(f"{name} thing {number}\n" for number, name in enumerate(classes)))
    images = sorted((root / "imagenet").rglob("*.png"))
    keys = [str(path.relative_to(root / "imagenet").with_suffix("")) for path in images]
    (root / "boxes.csv").write_text(
        "key,x0,y0,x1,y1,image_height,image_width\n" + "".join(f"{key},70,65,210,195,260,280\n" for key in keys)
    )
    for key in keys:
        for file in (root / "Annotations" / f"{key}.xml", root / "heatmaps" / f"{key}.npy"):
            file.parent.mkdir(parents=True, exist_ok=True)
        (root / "Annotations" / f"{key}.xml").write_text(VOC)
        np.save(root / "heatmaps" / f"{key}.npy", np.arange(42.0).reshape(6, 7))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the reader begins with: some images, and weights that nobody trained."""
    root = tmp_path_factory.mktemp("reader")
    classes = [f"n{label:08d}" for label in range(8)]
    for split, count in (("train", 2), ("val", 1)):
        write_folder(root / "imagenet" / split, dict.fromkeys(classes, count), height=260, width=280)
        write_folder(root / "photos" / split, {"cat": 10, "dog": 10}, height=70, width=90)
    write_folder(root / "valphotos", {"cat": 1, "dog": 1})
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    images = [{"bytes": encode(Image.fromarray(pixels), "PNG"), "path": None} for pixels in noise]
    write_parquet(root / "cifar10" / "train-0.parquet", [*range(8)] * 4, classes, images)
    write_parquet(root / "cifar10" / "test-0.parquet", [*range(8)], classes, images[:8])
    write_tars(root / "my-tars", {"000000": [0, 1], "000001": [1]})
    (root / "val").mkdir()
    names = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 5)]
    for name in names:
        (root / "val" / f"{name}.JPEG").write_bytes(encode(Image.fromarray(noise[0]), "JPEG"))
    lines = [f"{name},{classes[0]} 1 2 3 4" for name in names]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *lines, ""]))
    with contextlib.chdir(root):
        exec(PICTURE[0], {})  # noqa: S102 (our own page)
    bring_scores(root, classes)
    (root / "weights").mkdir()
    for name in ("deit_tiny", "deit_small", "resnet50"):
        save_file(create_model(name, num_classes=8).state_dict(), root / "weights" / f"{name}.safetensors")
    return root


@pytest.fixture(scope="module")
def story(folder) -> dict[str, str]:
    """What each line of READER and STORY said in `folder`, or why it failed."""
    packing = [line for block in BLOCKS if any(" pack " in line for line in block) for line in block if line in STORY]
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "SAMPLES", {"train": 160, "val": 40})
        for line in dict.fromkeys([*packing, *READER, *STORY]):
            try:
                said[line] = run(line, folder)
            except AssertionError as failure:
                said[line] = f"FAILED {failure}"
    return said


@pytest.mark.slow
@pytest.mark.parametrize("line", [*READER, *STORY])
def test_the_pages_run_from_top_to_bottom(line, story):
    assert not story[line].startswith("FAILED"), story[line]


@pytest.mark.slow
def test_the_report_looks_as_the_readme_prints_it(story):
    printed = re.search(r"```\n(digits, deit_micro, .*?)```", README, flags=re.S)[1].splitlines()
    said = next(said for line, said in story.items() if line.startswith("vit-tickets report runs/digits-deit_micro-* "))
    for line in printed[1], printed[5], *(f"{row[:10].strip()} " for row in printed[2:5]), "verdict: ":
        assert any(found.startswith(line) for found in said.splitlines()), f"{line}\n{said}"


@pytest.mark.slow
def test_the_picture_is_made_small_as_printed(story, folder):
    assert not any(said.startswith("FAILED") for line, said in story.items() if "photographs" in line)
    before = (folder / "photographs.png").stat().st_size
    with contextlib.chdir(folder):
        exec(PICTURE[1], {})  # noqa: S102 (our own page)
    assert (folder / "photographs.png").stat().st_size < before


@pytest.mark.slow
def test_the_images_of_an_experiment_are_cut_as_printed(tmp_path):
    for split, count in (("train", 3005), ("test", 2005)):
        path = tmp_path / "cifar10-parquet" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"label": range(count)}), path)
    with contextlib.chdir(tmp_path):
        exec(CUT, {})  # noqa: S102 (our own page)
        cut = {path.name: pq.read_table(path)["label"].to_pylist() for path in Path("cifar10-3000").iterdir()}
    assert cut == {
        "train-00000-of-00001.parquet": list(range(3000)),
        "test-00000-of-00001.parquet": list(range(2000)),
    }


@pytest.mark.slow
def test_the_weights_of_a_run_load_in_plain_timm_as_printed(story, folder):
    block, names = re.search(r"```python\n(.*?)```", README, flags=re.S)[1], {}
    run = str(folder / "runs/sweep-photos/runs/photos-deit_tiny-dense-seed0")
    exec(block.replace("num_classes=10", "num_classes=2").replace("RUN", run), names)  # noqa: S102 (our own README)
    stored = load_file(f"{run}/final.safetensors")
    loaded = names["model"].state_dict()
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)


@pytest.mark.slow
@pytest.mark.parametrize("line", ALONE)
def test_the_examples_of_help_run(line, story, folder, tmp_path):
    for name in (*SOURCES, *FINDS.get(line.split()[1], ALL)):
        if (folder / name).is_dir():
            shutil.copytree(folder / name, tmp_path / name, copy_function=os.link)
        else:
            os.link(folder / name, tmp_path / name)
    run(line, tmp_path)


def test_no_exception_and_no_change_outlives_its_example():
    lines = {line for block in BLOCKS for line in block} | set(ALONE)
    assert set(EXCEPTIONS) <= lines
    for pattern, _, _ in SMALLER:
        assert any(re.search(pattern, line) for line in [*lines, *READER]), pattern


def test_blocks_of_python_are_those_that_other_tests_run():
    """Those of selection and manifests test_docs.py, of the own loader tests/train, of training test_plain_timm.py, of
    weights that and tests/train/pruning, of README and results this file."""
    counts = {name: text.count("```python") for name, text in PAGES.items() if "```python" in text}
    assert counts == {
        "README.md": 1,
        "docs/own-loader.md": 1,
        "docs/results.md": 3,
        "docs/select.md": 1,
        "docs/train.md": 1,
        "docs/weights.md": 2,
        "manifests/README.md": 4,
    }
