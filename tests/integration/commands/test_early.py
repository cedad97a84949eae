"""Mistakes that files and numbers show are told before torch is imported."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process
PROGRAM = """
import json, os, sys
import numpy, pyarrow.parquet  # once, before the forks
from click.testing import CliRunner
from vit_tickets.pipeline.cli import COMMANDS, main
for name in COMMANDS:
    main.get_command(None, name)
assert "torch" not in sys.modules
class Heavy:
    def find_spec(self, name, *_):
        if name == "torch":
            print(json.dumps([words, 2, "", True]), flush=True, file=sys.__stdout__)
            os._exit(0)
for words in json.load(sys.stdin):
    if os.fork() == 0:
        sys.meta_path.insert(0, Heavy())
        result = CliRunner().invoke(main, words)
        print(json.dumps([words, result.exit_code, result.stderr, False]), flush=True)
        os._exit(0)
    os.wait()
"""
TRAIN = ("--model", "deit_micro", "--path", "dense")
LT = ("--model", "deit_micro", "--path", "lt")
ONLINE = ("--tickets", "online", "--selector", "deit_micro")
PLAIN = ("--split", "val", "--model", "deit_micro", "--out", "none")


@pytest.fixture(scope="module")
def answers(packed, tickets, tmp_path_factory):
    """What each command answers, by its words: (exit status, stderr, whether torch was imported)."""
    root = tmp_path_factory.mktemp("early")
    unfinished = root / "unfinished"
    unfinished.mkdir()
    config = {"model": "deit_micro", "path": "dense", "seed": 0, "recipe": {}, "root": packed, "format_version": 1}
    (unfinished / "config.json").write_text(json.dumps(config))
    (unfinished / "last.pt").touch()
    other = Path(shutil.copytree(tickets, root / "other"))
    index = json.loads((other / "ticket.json").read_text())
    (other / "ticket.json").write_text(json.dumps(index | {"dataset": "another"}))
    names = {"DATA": packed, "TICKETS": tickets, "OTHER": str(other), "UNFINISHED": str(unfinished), "ROOT": str(root)}
    commands = [[names.get(word, word) for word in words] for words, _ in CASES]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=os.environ | {"WORLD_SIZE": "1"},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


CASES = [
    (("train", "/nowhere", *TRAIN), "no dataset.json in /nowhere"),
    (("train", "DATA", *TRAIN, "--epochs", "0"), "0 is not in the range"),
    (("train", "DATA", *LT), "expected --tickets MANIFEST"),
    (("train", "DATA", *LT, "--tickets", "/nowhere"), "/nowhere"),
    (("train", "DATA", *LT, "--tickets", "OTHER"), "found 'another'"),
    (("train", "DATA", *TRAIN, "--init", "/no/weights.pth"), "found no /no/weights.pth"),
    (("train", "DATA", "--model", "lvvit_s", "--path", "dense", "--labels", "/nowhere"), "/nowhere"),
    (("train", "DATA", *TRAIN, "--device", "gpu"), "found 'gpu'"),
    (("train", "DATA", *TRAIN, "--keep-warmup", "9:3"), "found 9:3"),
    (("train", "DATA", *TRAIN, "--temperature", "0.3"), "--temperature: expected path lt, whose tickets it samples"),
    (("train", "DATA", *TRAIN, "--ticket", "mean"), "--ticket mean: expected path lt, found dense"),
    (("train", "DATA", *LT, *ONLINE, "--ticket", "swapped"), "expected a manifest (--tickets MANIFEST), found online"),
    (("train", "DATA", *LT, *ONLINE, "--temperature", "1"), "expected the ranks of a manifest"),
    (("train", "DATA", *TRAIN, "--rand-augment", "strong"), "found 'strong'"),
    (("train", "DATA", *TRAIN, "--sparsity", "2"), "found 2"),
    (("train", "DATA", *TRAIN, "--holdout", "1"), "found 1"),
    (("train", "DATA", *TRAIN, "--out", "UNFINISHED"), "holds an unfinished run; pass --resume"),
    (("train", "DATA", *TRAIN, "--seed", "1", "--out", "UNFINISHED"), "holds another run: seed"),
    (("evaluate", "/nowhere"), "found nothing at /nowhere"),
    (("evaluate", "UNFINISHED"), "is not finished"),
    (("predict", "DATA", "UNFINISHED"), "expected RUN first and IMAGES behind it, found the run "),
    (("predict", "DATA", "DATA"), "expected the folder of a run, found no config.json in"),
    (("evaluate", "--dataset", "DATA", "--model", "deit_micro"), "found no --out"),
    (("evaluate", "--dataset", "DATA", *PLAIN, "--on", "dense,ticket"), "found 'ticket'"),
    (("evaluate", "--dataset", "DATA", *PLAIN, "--weights", "/no.pth"), "found no /no.pth"),
    (("evaluate", "--dataset", "DATA", *PLAIN, "--tickets", "/nowhere"), "/nowhere"),
    (("generate", "/nowhere"), "no dataset.json in /nowhere"),
    (("generate", "DATA", "--split", "dev"), "expected a split 'dev'"),
    (("generate", "DATA", "--sparsity", "1.5"), "1.5"),
    (("generate", "DATA", "--stages", "a,b"), "found 'a,b'"),
    (("generate", "DATA", "--weights", "/no.pth"), "found no /no.pth"),
    (("labels", "/nowhere"), "no dataset.json in /nowhere"),
    (("labels", "DATA", "--split", "dev"), "expected a split 'dev'"),
    (("labels", "DATA", "--weights", "/no.pth"), "found no /no.pth"),
    (("report", "/nowhere"), "/nowhere"),
    (("sweep", "/nowhere"), "expected a dataset, or a folder of images, Parquet or tars, found no /nowhere"),
    (("sweep", "DATA", "--weights", "/no.pth"), "found no /no.pth"),
    (("sweep", "DATA", "--", "--device", "gpu"), "found 'gpu'"),
    (("table", "/nowhere"), "expected a dataset, or a folder of images, Parquet or tars, found no /nowhere"),
]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[" ".join(words) for words, _ in CASES])
def test_without_torch(answers, number):
    words, code, stderr, imported = answers[number]
    assert not imported, words
    assert code == 2, words
    assert CASES[number][1] in stderr.strip().splitlines()[-1]
