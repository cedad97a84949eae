"""Data are data: nothing that the packages call makes code of them."""

import ast
import re

import pytest

from tests.test_layout import EVERY_FILE, ROOT

INTERPRETERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "code", "runpy"}
WEBDATASET = {"webdataset.tariterators", "webdataset.writer"}  # its other parts decode, which unpickles
RUN_TEXT = {"eval", "exec", "compile", "__import__"}
UNPICKLE_OR_SHELL = {"read_pickle", "to_pickle", "system", "popen", "getoutput", "getstatusoutput", "mktemp"}
MUST_SAY = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
# What may not appear otherwise than so, wherever it does.
ONLY_SO = {"allow_pickle": False, "shell": False, "weights_only": True, "encoder": False}
# The suppressed findings of ruff's security rules, in the packages.
SUPPRESSED = {
    # Asks the model hub whether it answers, at the hub client's address.
    "pipeline/networks/pretrained.py": ["S310", "S310"],
    "ticketgen/scores/reading.py": ["S314"],  # parses XML of which a document type is refused
    "train/data/loader.py": ["S108"],  # names the shared memory of loader workers, whose room it asks for
    "train/sweep/process.py": ["S603"],  # starts our own commands, without a shell
}


def faults(text: str) -> list[str]:
    """What in the program `text` would make code of data."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in (*INTERPRETERS, "webdataset")]
        elif isinstance(node, ast.ImportFrom):
            if node.module.split(".")[0] in INTERPRETERS:
                found.append(node.module)
            if node.module.split(".")[0] == "webdataset" and node.module not in WEBDATASET:
                found.append(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if name in RUN_TEXT or name.rpartition(".")[2] in UNPICKLE_OR_SHELL:
                found.append(name)
            if name in MUST_SAY and given.get(MUST_SAY[name][0]) is not MUST_SAY[name][1]:
                found.append(name)
            found += [f"{name}({word}=...)" for word in given if word in ONLY_SO and given[word] is not ONLY_SO[word]]
    return found


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)",
        "exec(x)",
        "torch.load(x)",
        "torch.load(x, weights_only=flag)",
        "np.load(x)",
        "pd.read_pickle(x)",
        "np.load(x, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
        "TarWriter(x, encoder=True)",
        "os.system(x)",
        "import pickle",
        "from yaml import load",
        "import webdataset as wds",
        "from webdataset import WebDataset",
    ],
)
def test_the_scan_finds_them(text):
    assert faults(text)


def test_no_data_are_made_code_of():
    for path in EVERY_FILE:
        assert not faults(path.read_text()), path


def test_every_suppressed_security_finding_is_listed():
    found = {}
    for path in EVERY_FILE:
        if codes := re.findall(r"# noqa:.*?\b(S\d+)", path.read_text()):
            found[str(path.relative_to(ROOT))] = codes
    assert found == SUPPRESSED
