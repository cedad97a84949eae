"""What the model is to say of every token it sees: labels that belong to the cell's own image, mixed or not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.train.data.batches import TrainBatch
from vit_tickets.train.loop.inputs import Preparation
from vit_tickets.train.loop.learner import loss_of
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.views.erasing import erased_cells
from vit_tickets.train.views.token_labels import TokenLabels, class_targets, token_targets

GRID, SIDE, B, C, P = 4, 32, 4, 6, 3
VIEW = View("full", SIDE, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def prepared(batch: TrainBatch, seed: int = 0, kept: int = 7, online=None, **recipe):
    recipe = Recipe(epochs=1, batch_size=B, lr=1e-3, smoothing=0.1, **recipe)
    run = SimpleNamespace(
        path="lt",
        online=online,
        eval_view=VIEW,
        grid=GRID,
        image_size=SIDE,
        recipe=recipe,
        config=RunConfig(seed=seed, num_classes=C),
    )
    prepare = Preparation(run, "cpu", of_tokens=True)
    return prepare(batch, step=3, rank=0, kept=kept), prepare._mix(3, 0)


def a_batch(labels: bool = True, ranks: bool = True) -> TrainBatch:
    rng = np.random.default_rng(0)
    batch = TrainBatch(
        pixels=torch.from_numpy(rng.integers(0, 256, (B, 3, SIDE, SIDE), dtype=np.uint8)),
        label=torch.tensor([0, 1, 2, 3]),
    )
    if ranks:
        ranked = np.stack([rng.permutation(GRID**2) for _ in range(B)]).astype(np.uint8)
        identity = torch.eye(3)[:2].expand(B, 2, 3)
        batch = replace(batch, rank=torch.from_numpy(ranked), affine=identity)
    if not labels:
        return batch
    cells = [rng.permutation(C)[:P] for _ in range(B * 9)]
    return replace(
        batch,
        classes=torch.from_numpy(np.stack(cells).reshape(B, 9, P).astype(np.int32)),
        logits=torch.from_numpy(rng.normal(3, 3, (B, 9, P)).astype(np.float16)),
        label_affine=torch.tensor([[0.7, 0.1, 0.0], [-0.1, 0.8, 0.2]]).expand(B, 2, 3),
        label_through=torch.zeros(B, 0, 2, 3),
    )


def expected_labels(batch: TrainBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each unmixed image: its label, and the label of each of its cells."""
    if batch.classes is None:
        of_class = torch.full((B, C), 0.1 / C)
        of_class[torch.arange(B), batch.label] += 0.9
        return of_class, of_class.unsqueeze(1).expand(B, GRID**2, C)
    maps = TokenLabels(batch.classes.long(), batch.logits.float(), batch.label_affine, None)
    return class_targets(maps, GRID, C, 0.1), token_targets(maps, GRID, C, 0.1, None)


MIXES = ({}, {"mix_token": 1.0}, {"mixup": 0.8}, {"cutmix": 1.0})


@pytest.mark.parametrize("mixing", MIXES, ids=lambda mixing: "-".join(mixing) or "plain")
@pytest.mark.parametrize("labels", [True, False], ids=["labels", "class-label"])
@pytest.mark.parametrize("ranks", [True, False], ids=["lt", "dense"])
def test_every_kept_token_has_the_label_of_what_it_shows(mixing, labels, ranks):
    batch = a_batch(labels, ranks)
    of_class, of_cells = expected_labels(batch)
    for seed in range(4):
        inputs, mix = prepared(batch, seed, **mixing)
        lam = 1.0 if mix is None else mix.lam
        own = torch.ones(GRID**2) if mix is None else mix.own_share(GRID, SIDE)
        assert torch.allclose(inputs.target, of_class * lam + of_class.flip(0) * (1 - lam))
        for b in range(B):
            cells = range(GRID**2) if inputs.kept_BK is None else inputs.kept_BK[b].tolist()
            assert inputs.token_target.shape[1] == len(cells)
            for place, cell in enumerate(cells):
                label = of_cells[b, cell] * own[cell] + of_cells[B - 1 - b, cell] * (1 - own[cell])
                assert torch.allclose(inputs.token_target[b, place], label, atol=1e-6)


@pytest.mark.parametrize("mixing", [{}, {"cutmix": 1.0}])
def test_random_subsets_keep_no_erased_cell(mixing):
    """Ranks without an affine map are those of a random subset on the view's own cells."""
    erased = torch.tensor([[0, 0, SIDE, SIDE // 2], [0, 0, 0, 0], [0, SIDE // 4, SIDE, SIDE // 2], [0, 0, 8, SIDE]])
    batch = replace(a_batch(labels=False), affine=None, erased=erased.int())
    inputs, mix = prepared(batch, **mixing)
    own_N = torch.ones(GRID**2) if mix is None else mix.own_share(GRID, SIDE)
    erased_BN = erased_cells(erased, SIDE, GRID)
    nothing_BN = torch.where(own_N.bool(), erased_BN, erased_BN.flip(0))
    assert not nothing_BN.gather(1, inputs.kept_BK).any()


def test_mixtoken_leaves_images_and_keeps_the_best_of_the_mixed_cells():
    batch = a_batch()
    plain, _ = prepared(batch)
    for seed in range(6):
        inputs, mix = prepared(batch, seed, mix_token=1.0)
        assert torch.equal(inputs.images, plain.images)
        if mix is None:
            continue
        assert inputs.swapped_N.sum().item() == round((1 - mix.lam) * GRID**2)
        for b in range(B):
            mixed = torch.where(inputs.swapped_N, batch.rank[B - 1 - b], batch.rank[b]).tolist()
            best = sorted(range(GRID**2), key=lambda cell: (mixed[cell], cell))[:7]
            assert inputs.kept_BK[b].tolist() == sorted(best)


class BrightestCells:
    """An online selector that keeps the brightest cells of the images that it is shown."""

    def to(self, device):
        return self

    def choose(self, images, mean, std, grid, kept):
        brightness = torch.nn.functional.avg_pool2d(images.mean(1), SIDE // grid).flatten(1)
        return brightness.topk(kept).indices.sort().values


@pytest.mark.parametrize("mixing", [{"mix_token": 1.0}, {"cutmix": 1.0}], ids=["mix-token", "cutmix"])
def test_an_online_selector_chooses_by_what_each_token_shows(mixing):
    batch = a_batch(ranks=False)
    plain = prepared(batch)[0].images
    for seed in range(4):
        inputs, mix = prepared(batch, seed, online=BrightestCells(), **mixing)
        shown = plain if mix is None else mix.images(plain)
        assert torch.equal(inputs.kept_BK, BrightestCells().choose(shown, None, None, GRID, 7))
        assert torch.equal(inputs.images, plain if "mix_token" in mixing else shown)


def test_the_loss_is_that_of_the_class_and_of_the_tokens():
    inputs, _ = prepared(a_batch())
    recipe = Recipe(epochs=1, batch_size=B, lr=1e-3, token_weight=0.5, class_weight=2.0)
    class_BC, token_BKC = torch.randn(B, C), torch.randn(B, 7, C)
    of_class = -(inputs.target * class_BC.log_softmax(-1)).sum(-1).mean()
    of_tokens = -(inputs.token_target * token_BKC.log_softmax(-1)).sum(-1).mean()
    loss = loss_of((class_BC, token_BKC), inputs, recipe)
    assert loss.item() == pytest.approx((2 * of_class + 0.5 * of_tokens).item(), rel=1e-5)
