"""A ViT that chooses its patches: exactly k, by the order of their scores, with the gradient of a soft choice."""

import math

import pytest
import torch
from torch import nn

from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.train.models.learned import LearnedViT, best, build_scorer, gumbel, split
from vit_tickets.train.models.sparse import build_model

N, KEPT = 36, 14


def learned(scorer="linear", model="deit_micro", double=False, loud=True, **kwargs) -> LearnedViT:
    """In evaluation mode. loud: with scores that differ as those of a trained scorer do."""
    torch.manual_seed(0)
    network = registry.create_model(model, num_classes=5, img_size=24, patch_size=4, **kwargs)
    made = LearnedViT(network, scorer, seed=0).eval()
    if loud:
        for layer in made.scorer.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.data.mul_(200)
    return made.double() if double else made


def images_of(count=3, double=False):
    images = torch.randn(count, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    return images.double() if double else images


def scores(model, images):
    """The log-probability of each patch of each image, one by one."""
    network, prefix = model.network, model.network.num_prefix_tokens
    tokens = network._pos_embed(network.patch_embed(images))[:, prefix:]
    rows = []
    for of_image in tokens:
        raw = [model.scorer(token).squeeze() for token in of_image]
        rows.append([value - torch.stack(raw).logsumexp(0) for value in raw])
    return torch.stack([torch.stack(row) for row in rows])


def chosen(score_N, count):
    """Indices of the highest scores, ties to the lower index."""
    order = sorted(range(len(score_N)), key=lambda patch: (-float(score_N[patch]), patch))
    return sorted(order[:count])


def masked_logits(model, images, kept_of):
    """All tokens pass all blocks, but nothing attends to those that are not kept."""
    network, prefix = model.network, model.network.num_prefix_tokens
    x_BTD = network._pos_embed(network.patch_embed(images))
    hidden = torch.full((len(images), 1, 1, x_BTD.shape[1]), -math.inf, dtype=x_BTD.dtype)
    hidden[..., :prefix] = 0
    for number, kept in enumerate(kept_of):
        for patch in kept:
            hidden[number, 0, 0, prefix + patch] = 0
    for block in network.blocks:
        x_BTD = block(x_BTD, attn_mask=hidden)
    return network.forward_head(network.norm(x_BTD))


@pytest.mark.parametrize("scorer", ["linear", "mlp"])
@pytest.mark.parametrize("kwargs", [{}, {"reg_tokens": 2}, {"no_embed_class": True}])
@torch.no_grad()
def test_what_is_gathered_is_what_a_mask_of_the_keys_leaves(scorer, kwargs):
    model, images = learned(scorer, double=True, **kwargs), images_of(double=True)
    kept_of = [chosen(of_image, KEPT) for of_image in scores(model, images)]
    assert len({tuple(kept) for kept in kept_of}) == len(images)
    found, expected = model(images, choose=KEPT), masked_logits(model, images, kept_of)
    assert float((found - expected).abs().max()) < 1e-10
    others = [kept_of[-1], *kept_of[:-1]]
    assert float((found - masked_logits(model, images, others)).abs().max()) > 1e-4
    assert torch.equal(model(images, choose=KEPT), found)


def test_two_evaluations_are_equal_to_the_bit_and_draw_nothing():
    model, images = learned(), images_of()
    with torch.no_grad():
        torch.manual_seed(3)
        first = model(images, choose=KEPT)
        torch.manual_seed(4)
        assert torch.equal(model(images, choose=KEPT), first)
    with_gradients = model(images, choose=KEPT)
    assert torch.equal(with_gradients, first), "the factors of kept tokens are exactly 1"
    assert torch.equal(model(images, choose=N), model(images))


@pytest.mark.parametrize(("training", "count"), [(True, 1), (True, KEPT), (False, KEPT), (True, N)])
def test_exactly_so_many_tokens_enter_the_first_block(training, count):
    model, seen = learned(loud=False).train(training), []
    model.network.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    with torch.autocast("cpu", torch.bfloat16):
        model(images_of(5), choose=count)
    assert seen == [(5, 1 + count, 96)]


def test_ties_go_to_the_lower_patch_and_the_patches_ascend():
    score = torch.tensor([[0.0, 2.0, 1.0, 1.0, 1.0, 3.0], [5.0, 5.0, 5.0, 5.0, 5.0, 5.0]])
    assert best(score, 3).tolist() == [[1, 2, 5], [0, 1, 2]]
    drawn = torch.randn(200, N).mul(3).round()  # many ties
    assert best(drawn, KEPT).tolist() == [chosen(row, KEPT) for row in drawn]


def test_the_scorer_computes_in_float32_under_autocast():
    model, seen = learned(), []
    model.scorer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        model(images_of(), choose=KEPT)
    assert seen == [(torch.float32, torch.float32)]


def test_the_gradient_of_the_scorer_is_that_of_the_soft_choice():
    """Finite differences of what is differentiated: the choice fixed, each kept token times 1 + g - g at the start."""
    model, images = learned("mlp", double=True), images_of(double=True)
    model.tau.fill_(0.7)
    network, prefix = model.network, model.network.num_prefix_tokens
    kept_BK = torch.tensor([chosen(of_image, KEPT) for of_image in scores(model, images).detach()])

    def shares():
        score = scores(model, images) / 0.7
        return (score.exp() / score.exp().sum(1, keepdim=True)).gather(1, kept_BK)

    start = shares().detach()

    @torch.no_grad()
    def surrogate():
        x_BTD = vit.gather_tokens(network._pos_embed(network.patch_embed(images)), kept_BK, prefix)
        x_BTD[:, prefix:] *= (1 + shares() - start).unsqueeze(-1)
        return float(network.forward_head(network.norm(network.blocks(x_BTD)))[:, 0].sum())

    model(images, choose=KEPT)[:, 0].sum().backward()
    checked = [(model.scorer[0].weight, (3, 5)), (model.scorer[0].bias, (7,)), (model.scorer[2].weight, (0, 2))]
    checked += [(network.patch_embed.proj.weight, (1, 2, 3, 3)), (network.pos_embed, (0, 9, 4))]  # through the scores
    for parameter, place in checked:
        step, before = 1e-5, parameter.data[place].clone()
        values = []
        for moved in (before + step, before - step):
            parameter.data[place] = moved
            values.append(surrogate())
        parameter.data[place] = before
        expected = (values[0] - values[1]) / (2 * step)
        assert abs(expected) > 1e-6
        assert float(parameter.grad[place]) == pytest.approx(expected, rel=1e-5)


def test_scores_of_dropped_patches_learn_through_the_denominator():
    model, images = learned(loud=False), images_of(1)
    score_N = scores(model, images)[0].detach()
    raw = []
    model.scorer.register_forward_hook(lambda _, inputs, output: output.retain_grad() or raw.append(output))
    model(images, choose=KEPT)[:, 0].sum().backward()
    gradient_N = raw[0].grad[0, :, 0]
    assert gradient_N.abs().min() > 0
    dropped = [patch for patch in range(N) if patch not in chosen(score_N, KEPT)]
    assert len(dropped) == N - KEPT


def test_in_training_noise_draws_patches_in_proportion_to_their_probability():
    """Of one patch out of N the shares are those of the softmax, whatever the temperature."""
    model = learned(loud=False).train()
    tokens, weight = torch.zeros(4000, N, 96), torch.linspace(0, 3, N)
    tokens[:, :, 0] = weight
    model.scorer.weight.data.zero_()
    model.scorer.weight.data[0, 0] = 1.0
    torch.manual_seed(0)
    model.tau.fill_(10.0)
    kept_B1, gate_B1 = model.choose(tokens, 1)
    found, expected = torch.bincount(kept_B1[:, 0], minlength=N) / 4000, weight.softmax(0)
    assert float((found - expected).abs().max()) < 4 * math.sqrt(float(expected.max()) / 4000)
    assert torch.equal(gate_B1, torch.ones_like(gate_B1))
    assert model.times_kept_N.tolist() == torch.bincount(kept_B1[:, 0], minlength=N).tolist()
    assert int(model.kept_alike) == int((kept_B1 == N - 1).sum())
    torch.manual_seed(0)
    model.tau.fill_(0.1)
    assert torch.equal(model.choose(tokens, 1)[0], kept_B1)


def test_noise_is_that_of_gumbel_and_always_finite(monkeypatch):
    torch.manual_seed(0)
    drawn = gumbel(torch.empty(100_000))
    assert float(drawn.mean()) == pytest.approx(0.5772, abs=0.02)
    assert float(drawn.var()) == pytest.approx(math.pi**2 / 6, rel=0.03)
    monkeypatch.setattr(torch.Tensor, "exponential_", torch.Tensor.zero_)
    assert gumbel(torch.empty(3)).isfinite().all()


@pytest.mark.parametrize("scorer", ["linear", "mlp"])
def test_the_rest_is_timms_network(scorer):
    model = learned(scorer)
    state, own = split(model.network)
    torch.manual_seed(0)
    plain = registry.create_model("deit_micro", num_classes=5, img_size=24, patch_size=4)
    assert state.keys() == plain.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items()), (
        "the same initial weights"
    )
    assert own.keys() == build_scorer(scorer, 96, 0).state_dict().keys()
    plain.load_state_dict(state)
    images = images_of()
    with torch.no_grad():
        assert torch.equal(model(images), plain.eval()(images))
        given = torch.arange(0, N, 3).expand(3, -1)
        sparse = build_model("deit_micro", 5, 24, 4, None).eval()
        sparse.network.load_state_dict(state)
        assert torch.equal(model(images, given), sparse(images, given))
    with model.without_scorer():
        assert model.network.state_dict().keys() == state.keys()
    assert split(model.network)[1].keys() == own.keys()


def test_a_scorer_is_that_of_its_seed_alone():
    first, again, other = (build_scorer("mlp", 96, seed) for seed in (0, 0, 1))
    torch.manual_seed(5)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)
    assert [tuple(value.shape) for value in first.parameters()] == [(24, 96), (24,), (1, 24)]
    with pytest.raises(ValueError, match="expected a scorer among linear, mlp, found 'big'"):
        build_scorer("big", 96, 0)
