"""What `prune` reads of a network."""

from torch import nn

from vit_tickets.train.pruning.source import Source


def test_heads_are_those_of_layers_that_have_their_number():
    network = nn.ModuleDict({name: nn.ModuleDict({"qkv": nn.Linear(6, 18)}) for name in ("vit", "hiera")})
    network["vit"].num_heads = 3  # Hiera's layers call it otherwise
    source = Source(network, "some", 2, 32, "0" * 64, "some")
    assert source.heads == {"vit.qkv.weight": 3}
