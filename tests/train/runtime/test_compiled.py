"""Where nothing can be compiled."""

import pytest
import torch

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.runtime.compiled import compiled


def test_where_nothing_can_be_compiled_one_line_says_so(monkeypatch):
    def no_compiler(*_, **__):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler\nfound\n\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr(torch, "compile", lambda function: no_compiler)
    with pytest.raises(UserError, match=r"for --compile: InvalidCxxCompiler: No working C.. compiler found$"):
        compiled(torch.nn.Identity(), "cpu")
