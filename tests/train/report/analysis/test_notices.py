"""What a report says is missing, and what it warns of."""

from tests.runs import finding_of, write_run


def test_missing_predictions_name_the_command_that_makes_them(tmp_path):
    dense = write_run(tmp_path, "dense", on=["dense"])
    lt = write_run(tmp_path, "lt", on=[])
    rc = write_run(tmp_path, "rc", finished=False, on=[])
    finding = finding_of([dense, lt, rc])
    (verdict,) = finding.verdicts
    assert verdict.verdict is None
    assert "expected results of LT on lt, RC on lt" in verdict.lacking
    missing = "\n".join(finding.group.missing)
    assert f"`vit-tickets evaluate {dense} --on lt,rc --tickets manifests/t` makes them" in missing
    assert f"`vit-tickets evaluate {lt} --on dense,lt,rc` makes them" in missing
    assert f"{rc} has not finished (3 of 3 epochs)" in missing
    assert "found no rc run" in finding_of([dense, lt]).verdicts[0].lacking


def test_longer_training_other_recipe_and_limit_are_warned_of(tmp_path):
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", epochs=5, limit=100), write_run(tmp_path, "rc")]
    runs.append(write_run(tmp_path, "small", recipe={"lr": 2e-3, "epochs": 3, "image_size": None}))
    finding = finding_of(runs)
    assert finding.verdicts[0].verdict.label == "inconclusive"
    warnings = "\n".join(finding.group.warnings)
    assert "differ in epochs: 3 (dense-seed0, rc-seed0, small-seed0), 5 (lt-seed0)" in warnings
    assert "differ in limit: None" in warnings
    assert "differ in lr: 0.001" in warnings
    assert "image_size" not in warnings
