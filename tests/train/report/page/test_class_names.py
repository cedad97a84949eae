"""Names of classes from files in the forms that people have, matched to what the dataset calls its classes."""

import json

import pytest

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.page.class_names import ClassNames

WNIDS = ["n01440764", "n01443537", "n02012849", "n03126707"]
WORDNET = ["tench, Tinca tinca", "goldfish, Carassius auratus", "crane", "crane"]
SHORT = ["tench", "goldfish", "crane", "crane"]


def read(tmp_path, content) -> ClassNames:
    path = tmp_path / "names"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return ClassNames.read(str(path))


PAIRS = [f"{wnid} {name}" for wnid, name in zip(WNIDS, WORDNET, strict=True)]
FORMS = {
    "synset_words.txt": "\n".join(PAIRS),
    "LOC_synset_mapping.txt with a mark and Windows ends": "\ufeff" + "\r\n".join(PAIRS) + "\r\n",
    "tabs": "\n".join(pair.replace(" ", "\t", 1) for pair in PAIRS),
    "another order, and more than there are": "\n".join([*reversed(PAIRS), "n09999999 nothing"]),
    "imagenet_class_index.json": {
        str(n): [wnid, name] for n, (wnid, name) in enumerate(zip(WNIDS, WORDNET, strict=True))
    },
    "json by id": dict(zip(WNIDS, WORDNET, strict=True)),
}


@pytest.mark.parametrize("form", FORMS)
def test_wordnets_lists_are_matched_to_the_names_of_folders(tmp_path, form):
    names = read(tmp_path, FORMS[form])
    assert names.of(WNIDS, 4) == SHORT
    assert names.of(WNIDS[::-1][:3], 3) == ["crane", "crane", "goldfish"], "a dataset of some classes, in its own order"


def test_a_name_that_two_classes_share_stays_whole(tmp_path):
    names = read(tmp_path, "n02012849 crane\nn03126707 crane, machine\nn01440764 tench, Tinca tinca")
    assert names.of(["n01440764", "n02012849", "n03126707"], 3) == ["tench", "crane", "crane, machine"]


LISTS = {
    "lines": "tench\ngold fish\n\nray, big\n",
    "json list": ["tench", "gold fish", "ray, big"],
}


@pytest.mark.parametrize("form", LISTS)
@pytest.mark.parametrize("classes", [None, ["0", "1", "2"], ["a", "b", "c"]])
def test_one_name_per_line_is_in_the_order_of_classes(tmp_path, form, classes):
    assert read(tmp_path, LISTS[form]).of(classes, 3) == ["tench", "gold fish", "ray, big"]


@pytest.mark.parametrize(
    "content",
    [
        "0 tench\n2 ray\n1 gold fish",
        {"0": "tench", "1": "gold fish", "2": "ray"},
        {"2": "ray", "1": "gold fish", "0": "tench"},
    ],
)
@pytest.mark.parametrize("classes", [None, ["a", "b", "c"]])
def test_numbers_are_those_of_classes(tmp_path, content, classes):
    assert read(tmp_path, content).of(classes, 3) == ["tench", "gold fish", "ray"]


def test_pairs_of_other_ids_are_matched_too(tmp_path):
    assert read(tmp_path, "c7 sad cat\nc3 dog\n").of(["c3", "c7"], 2) == ["dog", "sad cat"]


@pytest.mark.parametrize(
    ("content", "classes", "message"),
    [
        ("tench\nray\n", ["a", "b", "c"], "expected 3 names, one for each class, found 2"),
        ("a\nb\nc\nd", None, "expected 3 names, one for each class, found 4"),
        (
            "n01440764 tench\nn01443537 fish",
            ["n01440764", "x", "y"],
            "expected a name of every class, found none of 'x' and 1 more",
        ),
        (
            "n01440764 tench\nn01443537 fish",
            ["cat", "dog", "cow"],
            "found ids such as 'n01440764' and classes called 'cat'",
        ),
        ("n01440764 tench\nn01443537 fish\nn01484850 shark", None, "no dataset to match them with"),
        ({"0": "tench", "1": "ray"}, None, "expected 3 names, one for each class, found 2"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, content, classes, message):
    with pytest.raises(UserError) as raised:
        read(tmp_path, content).of(classes, 3)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["", " \n", "{", {}, [], [1, 2], {"a": 1}, {"0": ["a", "b", "c"]}, "[[1]]"])
def test_files_without_names_are_refused(tmp_path, content):
    with pytest.raises(UserError, match="expected one name per line"):
        read(tmp_path, content)


def test_no_text_is_refused(tmp_path):
    (tmp_path / "names").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="expected text in UTF-8"):
        ClassNames.read(str(tmp_path / "names"))
