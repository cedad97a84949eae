"""The hash of a run's weights, against PyTorch's tensors."""

import pytest
import torch
from safetensors.torch import save_file

from vit_tickets.pipeline.networks.state import state_sha256
from vit_tickets.pipeline.runs.weights import weights_sha256
from vit_tickets.pipeline.system.errors import UserError


def test_it_is_that_of_the_network_whose_weights_they_are(tmp_path):
    generator = torch.Generator().manual_seed(0)
    state = {
        "b.weight": torch.randn(3, 5, generator=generator),
        "a.bias": torch.randn(3, generator=generator).half(),
        "bn.num_batches_tracked": torch.tensor(7),
        "bn.seen": torch.tensor([True, False]),
        "empty": torch.zeros(0, 2),
    }
    save_file(state, tmp_path / "final.safetensors")
    assert weights_sha256(str(tmp_path / "final.safetensors")) == state_sha256(state)


def test_a_damaged_file_is_an_error_in_one_line(tmp_path):
    (tmp_path / "final.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        weights_sha256(str(tmp_path / "final.safetensors"))
