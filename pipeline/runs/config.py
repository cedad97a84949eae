"""A run's settings, config.json, read back by whoever uses the run: as a network, to go on with it, to report on it."""

from typing import Any

from vit_tickets.pipeline.geometry.view_records import MAX_SIDE, view_fault
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import fields_fault, is_count

CONFIG = "config.json"
KINDS = {
    "dataset": str, "root": str, "model": str, "path": str, "precision": str, "occlude": str, "rc": str, "run": str,
    "tickets_dir": str, "init": str, "without_fold": str, "seed": int, "epochs": int, "kept": int, "num_patches": int,
    "num_classes": int, "image_size": int, "patch_size": int, "sparsity": float, "keep_rate": float, "holdout": float,
    "limit": int, "can_drop_patches": bool, "stem_occlusion": bool, "recipe": dict, "tickets": dict, "labels": dict,
    "eval_view": dict,
}  # fmt: skip
SIZES = {"num_classes": 1 << 20, "image_size": MAX_SIDE, "patch_size": MAX_SIDE}


def read_config(run: str, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """What RUN/config.json holds; raises UserError where it is missing or malformed, or lacks one of `needed`."""
    path = files.join(run, CONFIG)
    config = files.read_json(path)
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected the settings of a run, found a {type(config).__name__}")
    fault = fields_fault(config, KINDS, needed)
    for name, most in SIZES.items():
        if not fault and (value := config.get(name)) is not None and not (is_count(value) and 0 < value <= most):
            fault = f"{name}: expected a count in 1..{most}, found {value}"
    if not fault and config.get("eval_view") is not None:
        fault = view_fault(config["eval_view"])
    if not fault and isinstance(config.get("tickets"), dict):
        tickets = dict(config["tickets"])
        if isinstance(runs := tickets.get("selector_run"), list):  # of tickets that are cross-fitted
            tickets["selector_run"] = next((run for run in runs if not isinstance(run, str)), "")
        own = fields_fault(tickets, {"method": str, "seconds": float, "selector_run": str})
        fault = own and f"tickets.{own}"
    if fault:
        raise UserError(f"{path}: {fault}")
    return config


CONFIG, FINAL, BEST, LAST = "config.json", "final.safetensors", "best.safetensors", "last.pt"
