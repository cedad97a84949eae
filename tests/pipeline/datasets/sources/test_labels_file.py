"""Labels in a file beside images that lie in no class folders, by the command line."""

import pytest

from tests import layouts
from tests.command import refused, run
from tests.layouts import WNIDS, pictures, text
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard

VAL = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 7)]


def packed(tmp_path, *words) -> tuple[str, Dataset]:
    done = run("pack", words[0], tmp_path / "out", *words[1:])
    return done.output, Dataset.open(str(tmp_path / "out"))


def classes(dataset: Dataset, split: str) -> dict[str, str]:
    paths = map(dataset.path_of, dataset.shards(split))
    return {sample.key: dataset.classes[sample.label] for path in paths for sample in read_shard(path)}


def test_kaggle_imagenet(tmp_path):
    source = layouts.kaggle_imagenet(tmp_path / "kaggle")
    shown, dataset = packed(
        tmp_path, source / "ILSVRC" / "Data" / "CLS-LOC", "--labels-file", source / "LOC_val_solution.csv"
    )
    assert classes(dataset, "val") == {name: WNIDS[number % 3] for number, name in enumerate(VAL)}
    assert dataset.classes == list(WNIDS)
    assert "4 images directly in test/, no class folders, none in" in shown
    assert "LOC_val_solution.csv" in shown


def test_tiny_imagenet(tmp_path):
    source = layouts.tiny_imagenet(tmp_path / "tiny-imagenet-200")
    _, dataset = packed(tmp_path, source, "--labels-file", source / "val" / "val_annotations.txt")
    assert classes(dataset, "val") == {f"val_{number}": WNIDS[number % 3] for number in range(6)}


CSVS = {
    "with a header": "filename,label\n" + "".join(f"{name}.JPEG,{WNIDS[1]}\n" for name in VAL),
    "without": "".join(f"{name},{WNIDS[1]}\n" for name in VAL),
    "of spaces": "".join(f"{name}.JPEG {WNIDS[1]}\n" for name in VAL),
    "of semicolons, with folders": "".join(f"val/{name}.JPEG;{WNIDS[1]}\r\n" for name in VAL),
    "with a mark of its order": "\ufeffid,class\n" + "".join(f"{name},{WNIDS[1]}\n" for name in VAL),
}


@pytest.mark.parametrize("form", CSVS)
def test_two_columns(tmp_path, form):
    pictures(tmp_path / "val", [f"{name}.JPEG" for name in VAL])
    file = text(tmp_path / "labels.csv", CSVS[form])
    _, dataset = packed(tmp_path, tmp_path / "val", "--labels-file", file)
    assert classes(dataset, "val") == dict.fromkeys(VAL, WNIDS[1])


def test_what_does_not_match_is_counted_and_named(tmp_path):
    pictures(tmp_path / "val", ["a.jpg", "b.jpg", "c.jpg"])
    file = text(tmp_path / "labels.csv", "a.jpg,cat\nb.jpg,dog\nd.jpg,cat\ne.jpg,cat\n")
    shown, dataset = packed(tmp_path, tmp_path / "val", "--labels-file", file)
    assert classes(dataset, "val") == {"a": "cat", "b": "dog"}
    assert f"1 image left out, no label in {file}: c.jpg" in shown
    assert f"2 labels left out, no image of that name in {tmp_path / 'val'}: d.jpg, e.jpg" in shown


def ground_truth(folder, numbers):
    return text(folder / "ILSVRC2012_validation_ground_truth.txt", "".join(f"{number}\n" for number in numbers))


def test_ground_truth_of_ilsvrc_needs_its_synsets(tmp_path):
    pictures(tmp_path / "val", [f"{name}.JPEG" for name in VAL])
    file = ground_truth(tmp_path, [2, 1, 3, 3, 1, 2])
    words = ["pack", tmp_path / "val", tmp_path / "out", "--labels-file", file]
    assert "found no meta.mat beside it; --class-list FILE names them, one per line" in refused(*words)
    synsets = ["n02119789", "n02100735", "n01440764"]
    named = text(tmp_path / "synsets.txt", "\n".join(synsets))
    shown, dataset = packed(tmp_path, tmp_path / "val", "--labels-file", file, "--class-list", named)
    assert list(classes(dataset, "val")) != VAL, "shards are shuffled"
    expected = dict(zip(VAL, [synsets[number - 1] for number in (2, 1, 3, 3, 1, 2)], strict=True))
    assert classes(dataset, "val") == expected
    assert "in the order of their names" in shown
    by_name = text(tmp_path / "sorted.txt", "\n".join(f"n{number:08d}" for number in range(1000)))
    assert "found them sorted by name" in refused(*words, "--class-list", by_name)


def test_ground_truth_of_ilsvrc_with_its_meta_mat(tmp_path):
    scipy = pytest.importorskip("scipy.io")
    numpy = pytest.importorskip("numpy")
    pictures(tmp_path / "val", [f"{name}.JPEG" for name in VAL])
    kit = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    file = ground_truth(kit, [2, 1, 3, 3, 1, 2])
    synsets = numpy.zeros((3, 1), dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")])
    for row, (number, wnid) in enumerate([(3, "n01440764"), (1, "n02119789"), (2, "n02100735")]):
        synsets[row, 0] = (number, wnid, "words")
    scipy.savemat(kit / "meta.mat", {"synsets": synsets})
    _, dataset = packed(tmp_path, tmp_path / "val", "--labels-file", file)
    assert classes(dataset, "val")[VAL[0]] == "n02100735"
    assert classes(dataset, "val")[VAL[2]] == "n01440764"


def test_as_many_lines_as_images(tmp_path):
    pictures(tmp_path / "val", [f"{name}.JPEG" for name in VAL])
    file, named = ground_truth(tmp_path, [1, 2]), text(tmp_path / "synsets.txt", "cat\ndog\n")
    words = ("pack", tmp_path / "val", tmp_path / "out", "--labels-file", file, "--class-list", named)
    assert f"expected as many images as lines in {file}, 2, found 6" in refused(*words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found no line"),
        ("a.jpg,cat\na.jpg,dog\n", "expected one class for a.jpg, found cat and dog"),
        ("a.jpg,cat,3\n", "found 3 columns in line 1"),
        ("a.jpg,\n", "expected a name and a class in every line"),
        ("ImageId,PredictionString\na,n01440764 1 2 3 4 n01443537 1 2 3 4\n", "found n01440764 and n01443537"),
        ("z.jpg,cat\n", "expected images that"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, content, message):
    pictures(tmp_path / "val", ["a.jpg", "b.jpg"])
    file = text(tmp_path / "labels.csv", content)
    assert message in refused("pack", tmp_path / "val", tmp_path / "out", "--labels-file", file)


def test_numbers_of_a_class_list_say_where_they_begin(tmp_path):
    pictures(tmp_path / "val", ["a.jpg", "b.jpg"])
    named = text(tmp_path / "names.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    words = ("--labels-file", tmp_path / "val.txt", "--class-list", named)
    text(tmp_path / "val.txt", "a.jpg 0\nb.jpg 1\n")
    assert classes(packed(tmp_path, tmp_path / "val", *words)[1], "val") == {"a": "n01440764", "b": "n01443537"}
    text(tmp_path / "val.txt", "a.jpg 2\nb.jpg 1\n")
    shown, dataset = packed(tmp_path, tmp_path / "val", *words, "--overwrite")
    assert classes(dataset, "val") == {"a": "n01443537", "b": "n01440764"}
    assert "numbered from 1" in shown
    text(tmp_path / "val.txt", "a.jpg 1\nb.jpg 1\n")
    assert "that say which, found 1 to 1" in refused("pack", tmp_path / "val", tmp_path / "new", *words)


def test_a_labels_file_for_nothing_is_refused(tmp_path):
    layouts.pictures(tmp_path / "in" / "cat", ["a.jpg"])
    layouts.pictures(tmp_path / "in" / "dog", ["b.jpg"])
    file = text(tmp_path / "labels.csv", "a.jpg,cat\n")
    message = refused("pack", tmp_path / "in", tmp_path / "out", "--labels-file", file)
    assert "expected images without class folders, found class folders or labels in every split: train" in message
