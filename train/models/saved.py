"""The weights of a run's model as files of a folder: those of timm's names, and a scorer beside them."""

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from vit_tickets.pipeline.networks.state import load_file, load_strictly
from vit_tickets.pipeline.runs.config import FINAL, SCORER
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights.tensors import read_tensors
from vit_tickets.train.models.learned import LearnedViT, split


def save_weights(model: nn.Module, path: str) -> None:
    """Write the weights of `model.network` to `path` under timm's names, as safetensors; a scorer to `scorer_file`."""
    weights, scorer = split(model.get_submodule("network"))
    if scorer:
        _save(scorer, scorer_file(path))
    _save(weights, path)


def load_weights(model: nn.Module, root: str, name: str = FINAL) -> None:
    """Load the final weights of the run at `root` into `model`, its scorer included.

    name: of their file; the shrunk network has another than `final.safetensors`, and the same scorer.

    Raises UserError where they do not fit.
    """
    if not isinstance(model, LearnedViT):
        load_file(model.get_submodule("network"), files.join(root, name), classes="the run")
        return
    with model.without_scorer():
        load_file(model.network, files.join(root, name), classes="the run")
    path = files.join(root, SCORER)
    load_strictly(model.scorer, {name: torch.from_numpy(value) for name, value in read_tensors(path).items()}, path)


def scorer_file(weights: str) -> str:
    """Where the scorer is that belongs to a file of weights."""
    folder, name = weights.removesuffix(files.name_of(weights)), files.name_of(weights)
    return folder + (SCORER if name == FINAL else f"{name.removesuffix('.safetensors')}-{SCORER}")


def _save(state: dict[str, Tensor], path: str) -> None:
    held = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with files.atomic_write(path) as stream:
        stream.write(save_safetensors(held))
