"""What inspect says of label maps."""

import re

import numpy as np
import pandas as pd
import pytest

from tests.command import refused, run
from tests.helpers import write_labels
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.inspection.labels import first_probability, summarise_labels
from vit_tickets.pipeline.manifests.labels import LabelMaps


@pytest.fixture(scope="module")
def labels(packed, tmp_path_factory) -> str:
    return write_labels(Dataset.open(packed), str(tmp_path_factory.mktemp("labels") / "l"))


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def test_the_first_place_is_a_part_of_the_softmax_over_all_classes():
    logits = np.float16([[3, 1, -1], [-2, -3, -4], [11, 0, 0]])
    dense = np.concatenate([logits.astype(float), np.zeros((3, 4))], axis=1)
    assert first_probability(logits, 7) == pytest.approx(softmax(dense)[:, 0])
    assert first_probability(np.float16([60000, -60000]), 2) == 1


def test_a_split_is_counted_row_by_row(labels):
    summary = summarise_labels(LabelMaps.open(labels), "train")
    frame = pd.read_parquet(f"{labels}/train").dropna(subset="classes")
    classes, logits = (np.stack(list(frame[name])).reshape(-1, 9, 2) for name in ("classes", "logits"))
    assert (summary.shards, summary.samples, summary.errors) == (3, 23, 1)
    assert summary.found_C.tolist() == np.bincount(classes[..., 0].ravel()).tolist()
    expected = softmax(logits.astype(float))[..., 0].sum(axis=0)
    assert summary.sure_MM.ravel() == pytest.approx(expected)


def test_inspect(labels):
    shown = run("inspect", labels).output
    for part in (
        "label maps of small",
        "noise, weights abababababab, fp32",
        "3 x 3 cells of the whole image at 24 px",
        "the best 2 of 2 in every cell",
        "train: 23 images in 3 files, 1 without a label map",
        "1 x broken",
        "2 of 2 classes come first somewhere",
        "val: 7 images in 1 file, 0 without",
    ):
        assert part in shown
    assert len(re.findall(r"^  ((?: +\d+){3})$", shown, flags=re.MULTILINE)) == 6
    assert "train" not in run("inspect", labels, "--split", "val").output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--split", "test"), "expected label maps of split 'test', found those of train, val"),
        (("--gallery", "x.png", "--dataset", "d"), "--gallery: expected a manifest, found label maps"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(labels, options, said):
    assert said in refused("inspect", labels, *options)
