"""Runs at several image sizes with as many tokens: one group, whose rows say the size."""

import pytest

from tests.runs import TICKETS, write_run
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.contrasts.findings import find
from vit_tickets.train.report.analysis.curves import by_model
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.rendering.footnotes import footnotes
from vit_tickets.train.report.rendering.words.headline import headline

CARRIED = {key: value for key, value in TICKETS.items() if key != "sparsity"} | {"tokens": 16, "counts": [16]}
VIEW = {"view": "center", "kept": 36}


def at(root, path, size, tokens=36, tickets=CARRIED, **changes):
    """A run of patches of 8 px that keeps `tokens`, its tickets carried from those of 36 patches."""
    given = {"sparsity": None, "tokens": tokens, "kept": tokens} if path != "dense" else {}
    changes = {"name": f"{path}-{size}", "image_size": size, "num_patches": (size // 8) ** 2} | given | changes
    return write_run(root, path, metadata={"tickets": tickets | VIEW}, **changes)


@pytest.fixture
def same_tokens(tmp_path):
    """Dense at 48 px, tickets and random subsets at 72 px and tickets at 96 px, 36 tokens each; and dense at 72 px."""
    of = (("lt", 96), ("rc", 72), ("lt", 72), ("dense", 72), ("dense", 48))
    return [read_run(at(tmp_path, path, size)) for path, size in of]


def test_equal_tokens_are_one_group_whose_rows_say_the_size(same_tokens):
    (group,) = group_runs(same_tokens)
    assert group.budget == Budget(tokens=36)
    assert group.rows == ["dense", "dense@72", "lt@72", "lt@96", "rc@72"]
    assert (group.baseline, group.patches) == ("dense", "36 of 81 or 144")
    assert [group.patches_of(row) for row in ("lt@72", "lt@96")] == ["36 of 81", "36 of 144"]
    assert not group.warnings
    # dense at 48 px sees 36 patches: a ticket would be all of them
    assert {on for row, on in group.matrix if row == "dense"} == {"dense"}
    assert {on for row, on in group.matrix if row == "lt@96"} == {"dense", "lt", "rc"}
    assert not group.missing


def test_the_smallest_size_is_judged_beside_random_subsets_of_its_own(same_tokens):
    (group,) = group_runs(same_tokens)
    assert (group.ticket, group.random) == ("lt@72", "rc@72")
    (named,) = find(group).verdicts
    assert (named.verdict.match.minuend, named.verdict.match.subtrahend) == ("LT@72 on lt", "dense on dense")
    (without,) = group_runs([run for run in same_tokens if run.path != "rc"])
    (named,) = find(without).verdicts
    assert "found no rc@72 run" in named.lacking
    assert "--path rc --image-size 72 --tickets manifests/t --tokens 36" in named.todo[0]


def test_groups_of_several_sizes_are_no_point_of_a_curve(tmp_path, same_tokens):
    runs = [*same_tokens, read_run(write_run(tmp_path, "lt"))]
    assert by_model(group_runs(runs)) == []
    runs.append(read_run(write_run(tmp_path, "lt", name="half", sparsity=0.5, kept=18, on=[])))
    assert [[str(group.budget) for group in of] for of in by_model(group_runs(runs))] == [
        ["sparsity 0.5", "sparsity 0.75"]
    ]


def test_fewer_tokens_have_a_row_at_both_sizes(tmp_path):
    runs = [read_run(at(tmp_path, path, size, 18)) for path, size in (("dense", 48), ("lt", 48), ("lt", 72))]
    (group,) = group_runs(runs)
    assert group.rows == ["dense", "lt", "lt@72"]


def test_other_tickets_than_those_of_the_size_are_refused(tmp_path):
    other = CARRIED | {"weights_sha256": "ee" * 32}
    runs = [at(tmp_path, "lt", 72), at(tmp_path, "rc", 72, tickets=other)]
    with pytest.raises(UserError, match="they differ in weights_sha256"):
        group_runs([read_run(run) for run in runs])
    own = CARRIED | {"num_patches": 144, "tokens": 36, "counts": [36]}
    carried, of_its_own = read_run(at(tmp_path, "lt", 48)), read_run(at(tmp_path, "lt", 96, tickets=own))
    assert group_runs([carried, of_its_own])[0].rows == ["lt", "lt@96"]


def test_tickets_of_another_mask_seed_are_refused_at_any_size(tmp_path):
    runs = [at(tmp_path, "lt", 48), at(tmp_path, "lt", 72, tickets=CARRIED | {"mask_seed": 1})]
    with pytest.raises(UserError, match="they differ in mask_seed: expected 0, found 1"):
        group_runs([read_run(run) for run in runs])


def test_several_sizes_of_one_sparsity_are_refused_with_what_to_type(tmp_path):
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", image_size=72)]
    with pytest.raises(UserError, match=r"image_size: expected 48, found 72; runs of several .* by --tokens"):
        group_runs([read_run(run) for run in runs])


def test_dense_runs_of_other_sizes_stay_out_of_a_sparsity(tmp_path, same_tokens):
    runs = [*same_tokens, read_run(write_run(tmp_path, "lt"))]
    groups = {group.budget: group.rows for group in group_runs(runs)}
    assert groups[Budget(sparsity=0.75)] == ["dense", "lt"]
    assert groups[Budget(tokens=36)] == ["dense", "dense@72", "lt@72", "lt@96", "rc@72"]


def test_sentences_name_the_sizes(same_tokens):
    (group,) = group_runs(same_tokens)
    (note,) = footnotes(group)
    assert note.startswith(
        "@72 and @96: trained and tested at so many pixels a side, the other rows at 48; of 81 and 144"
    )
    assert "keeping 36 of 81 patches at 72 px" in " ".join(headline(find(group)))
    assert "all patches at 48 px" in " ".join(headline(find(group)))
