"""What weights are ranked by, against one image at a time."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sparsity import scores
from vit_tickets.train.sparsity.scores import Labelled


class Tiny(nn.Module):
    """Logits of three classes, with dropout and batch statistics that evaluation leaves alone."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Linear(36, 3)

    def forward(self, images, kept_BK=None):
        x = F.dropout(torch.relu(self.norm(self.first(images))), 0.5, self.training)
        return self.last(x.flatten(1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Tiny()


def batches(sizes):
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(sum(sizes), 3, 4, 4, generator=generator), torch.arange(sum(sizes)) % 3
    pairs = zip(images.split(sizes), labels.split(sizes), strict=True)
    return [Labelled(part, None, label) for part, label in pairs]


def test_gradients_are_the_mean_over_images_whatever_the_batches(model):
    own = {"first.weight": model.first.weight, "last.weight": model.last.weight}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found, seen = scores.mean_gradients(model.train(), batches([5, 5, 2]), own)
    assert seen == 12
    sums = {name: torch.zeros_like(weight) for name, weight in own.items()}
    for batch in batches([1] * 12):
        loss = F.cross_entropy(model.eval()(batch.images), batch.label_B)
        for name, gradient in zip(own, torch.autograd.grad(loss, list(own.values())), strict=True):
            sums[name] += gradient
    for name, total in sums.items():
        torch.testing.assert_close(found[name], total / 12)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_taylor_tells_how_the_loss_changes_without_a_weight(model):
    model = model.double().eval()
    own = {"last.weight": model.last.weight}
    data = [Labelled(b.images.double(), None, b.label_B) for b in batches([12])]

    def loss():
        return F.cross_entropy(model(data[0].images), data[0].label_B).item()

    def gradients():
        class Single(nn.Module):
            def forward(self, images, kept_BK=None):
                return model(images)

        return scores.mean_gradients(Single(), data, own)[0]

    found = scores.taylor(own, gradients())["last.weight"]
    whole = loss()
    for place in ((0, 0), (1, 7), (2, 35)):
        weight = model.last.weight.data[place].item()
        model.last.weight.data[place] = weight * (1 - 1e-4)
        assert abs(loss() - whole) / 1e-4 == pytest.approx(found[place].item(), rel=1e-2, abs=1e-9)
        model.last.weight.data[place] = weight


def test_magnitudes_and_draws(model):
    own = dict(model.named_parameters())
    assert torch.equal(scores.magnitudes(own)["last.bias"], model.last.bias.abs())
    first, again, other = (scores.drawn(own, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in own)
    assert not torch.equal(first["last.weight"], other["last.weight"])
    assert not torch.equal(first["norm.weight"], first["norm.bias"])
    assert scores.drawn({"last.weight": own["last.weight"]}, 0)["last.weight"].equal(first["last.weight"])


def test_no_images_and_gradients_that_are_no_numbers_are_refused(model):
    own = {"last.weight": model.last.weight}
    with pytest.raises(UserError, match="expected images"):
        scores.mean_gradients(model, [], own)
    endless = [Labelled(torch.full((1, 3, 4, 4), torch.inf), None, torch.tensor([0]))]
    with pytest.raises(UserError, match=r"expected finite gradients, found others of last.weight"):
        scores.mean_gradients(model, endless, own)
