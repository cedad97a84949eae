"""What is said about words that are nearly right, or right in other programs."""

import pytest
from click.testing import CliRunner

from vit_tickets.pipeline.cli import COMMANDS, main

TRAIN = ("train", "data/x", "--model", "deit_micro", "--path", "dense")


def error_of(*words: str) -> str:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.output
    return result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("trian", "train"),
        ("evalute", "evaluate"),
        ("eval", "evaluate"),
        ("Train", "train"),
        ("gen", "generate"),
        ("raport", "report"),
        ("inspct", "inspect"),
    ],
)
def test_a_mistyped_command(typed, meant):
    assert error_of(typed, "x") == f"Error: No such command '{typed}'; did you mean {meant}?"


def test_a_command_like_no_other_lists_them():
    assert error_of("frobnicate").endswith(", ".join(COMMANDS))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--bs", "--batch-size"),
        ("--b", "--batch-size"),
        ("-b", "--batch-size"),
        ("-bs", "--batch-size"),
        ("--batchsize", "--batch-size"),
        ("--batch_size", "--batch-size"),
        ("--learning-rate", "--lr"),
        ("-lr", "--lr"),
        ("--epoch", "--epochs"),
        ("--wd", "--weight-decay"),
        ("--weight_decay", "--weight-decay"),
        ("--img-size", "--image-size"),
        ("--input-size", "--image-size"),
        ("--num_workers", "--workers"),
        ("--output_dir", "--out"),
        ("--arch", "--model"),
        ("--pretrained", "--init"),
        ("--manifest", "--tickets"),
        ("--random-seed", "--seed"),
        ("--reprob", "--erasing"),
        ("--no-algin", "--no-align"),
        ("--mask", "--masks"),
        ("--force", "--overwrite"),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_a_mistyped_option_of_train(typed, meant, joined):
    words = [f"{typed}=3"] if joined and typed.startswith("--") else [typed, "3"]
    assert error_of(*TRAIN, *words) == f"Error: No such option {typed}; did you mean {meant}?"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("generate", "d", "--sparcity", "0.3"), "--sparsity"),
        (("generate", "d", "--model", "x"), "--selector"),
        (("generate", "d", "--bs", "8"), "--batch-size"),
        (("labels", "d", "--teacher", "x"), "--annotator"),
        (("evaluate", "r", "--ticket", "x"), "--tickets"),
        (("evaluate", "--data", "x"), "--dataset"),
        (("report", "r", "--output", "x"), "--out"),
        (("sweep", "d", "--seed", "3"), "--seeds"),
        (("sweep", "d", "--model", "x"), "--models"),
        (("table", "d", "--num-gpus", "2"), "--gpus"),
        (("pack", "a", "b", "--resize", "256"), "--shorter-side"),
        (("verify", "a", "--data-set", "b"), "--dataset"),
        (("inspect", "a", "--galery", "b"), "--gallery"),
    ],
)
def test_a_mistyped_option_of_every_command(words, meant):
    assert error_of(*words).endswith(f"; did you mean {meant}?")


def test_what_is_an_argument_or_done_by_torchrun_is_said():
    assert error_of(*TRAIN, "--data-path", "x").endswith(
        "No such option --data-path; DATASET stands without an option: main train DATASET ..."
    )
    assert "torchrun --nproc-per-node N -m vit_tickets.train" in error_of(*TRAIN, "--gpus", "2")


def test_nothing_is_suggested_for_what_is_like_nothing():
    assert error_of(*TRAIN, "--zzzz", "1") == "Error: No such option --zzzz"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("--path", "ticket"), "lt"),
        (("--path", "LT"), "lt"),
        (("--path", "dens"), "dense"),
        (("--rc", "frsh"), "fresh"),
        (("--opt", "adam"), "adamw"),
        (("--precision", "float32"), "fp32"),
        (("--recipe", "diet"), "deit"),
    ],
)
def test_a_mistyped_choice(words, meant):
    assert error_of("train", "d", "--model", "deit_micro", *words).endswith(f"; did you mean {meant}?")


def test_a_mistyped_entry_of_a_list():
    assert error_of("sweep", "d", "--paths", "dense,ticket,rc").endswith("; did you mean lt?")


def test_options_behind_the_dashes_of_a_sweep():
    assert error_of("sweep", "digits", "--", "--bs", "4").endswith("No such option --bs; did you mean --batch-size?")


@pytest.mark.parametrize("plan", ["sweep", "table", "lth", "svite", "lotus"])
def test_an_option_of_train_that_stands_before_the_dashes_of_a_plan(plan):
    assert error_of(plan, "digits", "--limit", "4") == (
        "Error: No such option --limit; `train` has it: options of train stand last, after --: "
        f"main {plan} ... -- --limit ..."
    )
