import json

from vit_tickets.pipeline.datasets.left_out import LeftOut, Omissions
from vit_tickets.pipeline.datasets.shards import Dataset, Shard


def test_omissions_are_counted_by_kind_and_reason_and_three_are_named():
    omissions = Omissions()
    for number in range(5):
        omissions.add("row", "no image bytes", f"{number:08d}")
    omissions.add("folder", "no image below it", "empty")
    assert [str(entry) for entry in omissions] == [
        "5 rows left out, no image bytes: 00000000, 00000001, 00000002, ...",
        "1 folder left out, no image below it: empty",
    ]
    assert len(omissions) == 6


def test_dataset_json_records_what_was_left_out_and_is_unchanged_where_nothing_was(tmp_path):
    shard = Shard("val/000000.tar", 1, 2048, "0" * 64)
    entry = LeftOut("row", "no image bytes", 2, ("00000003", "00000007"))
    Dataset(str(tmp_path), "d", ["a"], "parquet", {"train": [shard], "val": [shard]}, {"val": [entry]}).save()
    splits = json.loads((tmp_path / "dataset.json").read_text())["splits"]
    assert set(splits["train"]) == {"samples", "shards"}
    assert splits["val"]["left_out"] == [
        {"what": "row", "reason": "no image bytes", "count": 2, "examples": ["00000003", "00000007"]}
    ]
    assert Dataset.open(str(tmp_path)).left_out == {"val": [entry]}
