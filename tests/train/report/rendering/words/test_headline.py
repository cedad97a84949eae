"""The headline, a sentence for every case that there is."""

import json

import pytest

from tests.runs import COSTS, TICKETS, finding_of, write_predictions, write_run
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.rendering.words.headline import headline, headlines
from vit_tickets.train.report.rendering.words.overall import overall, paragraphs

ON_OWN = {"dense": "dense", "lt": "lt", "rc": "rc", "small": "dense", "short": "dense"}
MACS = {"dense": 1000, "lt": 510, "rc": 510, "small": 500, "short": 500}
DEPLOYED = " Tested on whole images, as networks are mostly used, training on tickets"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (2000, 0))


def write(root, own, whole=None, seeds=2, macs=True, **changes):
    """Runs right on `own` of what they were trained on, by row, and on `whole` of whole images."""
    folders = []
    for row, share in own.items():
        path, _, kind = row.partition(":")
        more = {"rc": kind} if kind else {}
        if path == "short":
            more |= {"tickets": TICKETS | COSTS, "sparsity": 0.75, "tickets_dir": "manifests/t"}
        for seed in range(seeds[row] if isinstance(seeds, dict) else seeds):
            name = f"{row.replace(':', '-')}-{seed}"
            folder = write_run(root, path, seed, on=[], name=name, **more, **changes)
            size = 24 if path == "small" else 48
            write_predictions(root / name, ON_OWN[path], share, seed, size, weights_sha256=name)
            if whole and row in whole:
                write_predictions(root / name, "dense", whole[row], seed, size, weights_sha256=name)
            if macs and path in MACS:
                log = root / name / "metrics.jsonl"
                lines = [json.loads(line) | {"macs": MACS[path]} for line in log.read_text().splitlines()]
                log.write_text("".join(json.dumps(line) + "\n" for line in lines))
            folders.append(folder)
    return folders


CASES = {
    "a cost": (
        {"own": {"dense": 0.9, "lt": 0.86, "rc": 0.8}},
        "Keeping 9 of 36 patches costs 4.12 points [1.60, 6.75] against all patches, at 51% of the multiply-adds; as "
        "many random patches cost 10.38. Each tested on its own input, tickets do better than random patches, which "
        "need no selector, by 6.25 points.",
    ),
    "a gain": (
        {"own": {"dense": 0.9, "lt": 0.95, "rc": 0.8}},
        "Keeping 9 of 36 patches gains 4.62 points [1.88, 7.37] over all patches, at 51% of the multiply-adds; as many "
        "random patches cost 10.38.",
    ),
    "an interval with 0": (
        {"own": {"dense": 0.9, "lt": 0.902, "rc": 0.8}},
        "Keeping 9 of 36 patches makes no clear difference from all patches (",
    ),
    "one seed": (
        {"own": {"dense": 0.9, "lt": 0.86, "rc": 0.8}, "seeds": 1},
        "In these runs, keeping 9 of 36 patches costs ",
    ),
    "one seed of one row": (
        {"own": {"dense": 0.9, "lt": 0.86, "rc": 0.8}, "seeds": {"dense": 2, "lt": 2, "rc": 1}},
        " One seed of rc settles nothing: another may turn this round.",
    ),
    "no dense": (
        {"own": {"lt": 0.86, "rc": 0.8}},
        "Keeping 9 of 36 patches reaches 86.25% top-1, with as many random patches 80.00%; what that costs is open, "
        "for there is no run on all patches.",
    ),
    "no rc": (
        {"own": {"dense": 0.9, "lt": 0.86}},
        "against all patches, at 51% of the multiply-adds.",
    ),
    "no ticket": (
        {"own": {"dense": 0.9, "rc": 0.8}},
        "Keeping 9 of 36 random patches costs 10.38 points [7.08, 13.75]; there is no run on tickets to judge yet.",
    ),
    "dense alone": (
        {"own": {"dense": 0.9}},
        "Training on all patches reaches 90.38% top-1 on whole images; there is no run on tickets to judge yet.",
    ),
    "masked": (
        {"own": {"dense": 0.9, "lt": 0.86, "rc": 0.8}, "can_drop_patches": False},
        "Training with all but 9 of 36 patches masked costs 4.12 points [1.60, 6.75] against all patches and saves no "
        "multiply-adds; as many random patches cost 10.38.",
    ),
    "fine-tuned": (
        {"own": {"dense": 0.9, "lt": 0.86, "rc": 0.8}, "init": "pretrained"},
        "Fine-tuning on 9 of 36 patches costs 4.12 points [1.60, 6.75] against all patches, at 51% of the ",
    ),
    "old runs": (
        {"own": {"dense": 0.9, "lt": 0.86, "rc": 0.8}, "macs": False},
        "against all patches, in 40% of the time; ",
    ),
    "old runs of two machines": (
        {"own": {"dense": 0.9, "lt": 0.86}, "macs": False, "machines": True},
        "against all patches.",
    ),
    "a simpler row is better": (
        {"own": {"dense": 0.9, "lt": 0.8, "rc": 0.7, "rc:fresh": 0.86}},
        "Without a selector, random patches drawn anew in every step (by 6.25 points [3.83, 8.75]) do better than "
        "tickets. Keeping 9 of 36 patches costs 10.38 points [7.08, 13.75] against all patches",
    ),
    "simpler rows are as good": (
        {"own": {"dense": 0.9, "lt": 0.86, "rc": 0.7, "short": 0.867, "small": 0.87}},
        "Without a selector, a smaller image (0.88 points above) and shorter training on all patches (0.62 points "
        "above) do at least as well.",
    ),
    "a simpler row is not clearly worse": (
        {"own": {"dense": 0.9, "lt": 0.862, "rc": 0.7, "short": 0.859}},
        "Each tested on its own input, tickets are not clearly better than shorter training on all patches, "
        "which needs no selector.",
    ),
    "all simpler rows are worse": (
        {"own": {"dense": 0.9, "lt": 0.88, "rc": 0.7, "short": 0.8, "small": 0.75}},
        "Each tested on its own input, tickets do better than all 3 rows that need no selector, by 8.50 points at the "
        "least.",
    ),
    "deployed": (
        {"own": {"dense": 0.9, "lt": 0.88, "rc": 0.7}, "whole": {"lt": 0.7, "rc": 0.8}},
        f"{DEPLOYED} costs 20.25 points [15.94, 24.56], on random patches it costs 10.38: without a selector, "
        "random patches do better there.",
    ),
    "deployed, and better": (
        {"own": {"dense": 0.9, "lt": 0.88, "rc": 0.7}, "whole": {"lt": 0.85, "rc": 0.7}},
        f"{DEPLOYED} costs 5.00 points [2.32, 7.75], on random patches it costs 20.25.",
    ),
    "hardly learnt": (
        {"own": {"dense": 0.2, "lt": 0.3, "rc": 0.15}},
        "Training on all patches reached 20.00% top-1: too little was learnt for a comparison.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_reads_well_in_every_case(tmp_path, name):
    options, expected = CASES[name]
    machines = options.get("machines")
    runs = write(tmp_path, **{name: value for name, value in options.items() if name != "machines"})
    for folder in runs if machines else ():
        config = tmp_path / folder / "config.json"
        if "/lt-" in folder:
            config.write_text(json.dumps(json.loads(config.read_text()) | {"hardware": "another"}))
    finding = finding_of(runs)
    sentences = headline(finding)
    said = " ".join(sentences)
    assert expected in said
    assert len(sentences) <= 5
    for sentence in sentences:
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert not any(flaw in sentence for flaw in ("  ", "..", " ,", "None", "nan", "()", "[]"))
    assert said.count("random") > 0 or "rc" not in " ".join(finding.group.rows) or "too little" in said
    assert ("multiply-adds" in said) <= (options.get("macs", True) or not finding.group.can_drop_patches)


def test_a_simpler_row_that_is_better_is_said_first_and_one_as_good_second(tmp_path):
    worse = finding_of(write(tmp_path / "a", **CASES["a simpler row is better"][0]))
    assert worse.nulls[1].contrast.high < 0
    assert headline(worse)[0].startswith("Without a selector, random patches drawn anew")
    level = finding_of(write(tmp_path / "b", **CASES["simpler rows are as good"][0]))
    assert headline(level)[0].startswith("Keeping 9 of 36")
    assert headline(level)[1].startswith("Without a selector, ")


def test_the_figures_are_those_of_the_contrasts(tmp_path):
    finding = finding_of(write(tmp_path, **CASES["a cost"][0]))
    found = finding.group.contrast(("lt", "lt"), ("dense", "dense"))
    first = headline(finding)[0]
    assert f"costs {-found.estimate:.2f} points [{-found.high:.2f}, {-found.low:.2f}]" in first
    assert f"cost {-finding.group.contrast(('rc', 'rc'), ('dense', 'dense')).estimate:.2f}" in first


def test_published_weights_are_named(tmp_path):
    runs = [write_run(tmp_path, path, on=[on]) for path, on in (("weights", "dense"), ("lt", "lt"))]
    assert "over the published weights" in headline(finding_of(runs))[0]


def test_few_images_are_too_few(tmp_path):
    runs = [write_run(tmp_path, path, on=[]) for path in ("dense", "lt")]
    for path, on in (("dense", "dense"), ("lt", "lt")):
        write_predictions(tmp_path / f"{path}-seed0", on, 0.8, keys=[f"{i:05d}" for i in range(20)])
    assert headline(finding_of(runs)) == ["20 images are too few to compare on: expected at least 30."]


def test_one_image_is_too_few(tmp_path):
    runs = [write_run(tmp_path, path, on=[]) for path in ("dense", "lt")]
    for path, on in (("dense", "dense"), ("lt", "lt")):
        write_predictions(tmp_path / f"{path}-seed0", on, 0.8, keys=["0"])
    assert headline(finding_of(runs)) == ["1 image is too few to compare on: expected at least 30."]


def test_equal_accuracies_are_no_difference(tmp_path):
    finding = finding_of(write(tmp_path, {"dense": 0.9, "lt": 0.9, "rc": 0.9}, {"lt": 0.9}, seeds=1))
    said = " ".join(headline(finding))
    assert "keeping 9 of 36 patches makes no difference from all patches, at 51%" in said
    assert "as many random patches make no difference" in said
    assert "training on tickets makes no difference" in said
    assert "0.00 points" not in said


def test_runs_that_were_not_tested_have_nothing_to_say(tmp_path):
    finding = finding_of([write_run(tmp_path, path, on=[]) for path in ("dense", "lt")])
    assert headline(finding) == ["No run of this group was tested yet."]


def test_several_groups_have_a_headline_each_and_a_sweep_one_over_all(tmp_path):
    first = finding_of(write(tmp_path / "a", **CASES["a cost"][0]))
    second = finding_of(write(tmp_path / "b", **CASES["a simpler row is better"][0], model="deit_tiny"))
    third = finding_of(write(tmp_path / "c", **CASES["a gain"][0], model="deit_small"))
    one, two = headlines([first, second])
    assert one.startswith("deit_micro, sparsity 0.75: Keeping 9 of 36 patches costs 4.12 points")
    assert two.startswith("deit_tiny, sparsity 0.75: Without a selector, ")
    assert headlines([first]) == [" ".join(headline(first))]
    assert overall([first]) is None
    assert paragraphs([first]) == headlines([first])
    assert paragraphs([first, second]) == [overall([first, second]), one, two]
    assert overall([first, second]) == (
        "Over 2 pairs of model and budget, tickets cost 4.12 to 10.38 points against all patches, as many random "
        "patches cost 4.12 to 10.38; in 1 of them a row that needs no selector does at least as well (rc:fresh)."
    )
    assert overall([first, third]) == (
        "Over 2 pairs of model and budget, tickets make -4.12 to +4.62 points against all patches, as many "
        "random patches cost 10.38; no row that needs no selector does as well."
    )
