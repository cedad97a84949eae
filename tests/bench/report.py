"""What a run of the benchmarks says: a table for people, JSON for comparison, and the machine in both."""

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .harness import Duration, Finding, Ratio, cores, median_wall_s

VERSIONED = ("vit-tickets", "torch", "timm", "numpy", "pillow")
HEADER = ("what", "ours", "baseline", "ratio", "min .. max", "by CPU time", "arithmetic", "of it", "target", "")


def machine() -> dict[str, Any]:
    """What the numbers were measured on and with; `load_1min` tells whether anything else was running."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_1min": round(os.getloadavg()[0], 2),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED}
        | {"python": platform.python_version()},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def headline(record: dict[str, Any]) -> str:
    """The machine in one line."""
    versions = record["versions"]
    gpu = f", {record['gpu']}" if record["gpu"] else ""
    return (
        f"{record['cpu']}, {record['cores']} cores{gpu}; torch {versions['torch']} with {record['torch_threads']} "
        f"threads, timm {versions['timm']}; load {record['load_1min']:g}; {record['date']}"
    )


def table(findings: Iterable[Finding | Duration]) -> str:
    """One line per finding; times are medians of one turn, ratios medians over the rounds (ours is so much faster)."""
    rows = [HEADER]
    for finding in findings:
        cells = _of_duration(finding) if isinstance(finding, Duration) else _of_ratio(finding)
        rows.append((finding.what, *cells, {True: "reached", False: "MISSED", None: ""}[finding.reached]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _of_ratio(finding: Finding) -> tuple[str, ...]:
    ratio, limit = finding.ratio, finding.arithmetic
    return (
        f"{finding.ours} {_duration(median_wall_s(finding.ours_turns))}",
        f"{finding.baseline} {_duration(median_wall_s(finding.baseline_turns))}",
        f"{ratio.median:.3f}",
        f"{ratio.least:.3f} .. {ratio.most:.3f}",
        f"{finding.cpu_ratio.median:.3f}",
        f"{limit:.3f}" if limit else "-",
        f"{ratio.median / limit:.1%}" if limit else "-",
        f"{finding.target:.3f}" if finding.target else "-",
    )


def _of_duration(finding: Duration) -> tuple[str, ...]:
    spread = f"{_duration(min(finding.turns))} .. {_duration(max(finding.turns))}"
    limit = "-" if finding.limit_s is None else f"< {_duration(finding.limit_s)}"
    return _duration(finding.median_s), "-", "-", spread, "-", "-", "-", limit


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def as_record(finding: Finding | Duration) -> dict[str, Any]:
    """A finding as plain values, every turn included."""
    if isinstance(finding, Duration):
        return asdict(finding) | {"median_s": finding.median_s, "reached": finding.reached}

    def ratio(values: Ratio) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(values).items()}

    return asdict(finding) | {
        "ratio": ratio(finding.ratio),
        "cpu_ratio": ratio(finding.cpu_ratio),
        "reached": finding.reached,
    }


def write_json(path: str, record: dict[str, Any], findings: dict[str, list[Finding | Duration]]) -> None:
    """The machine's record and all findings, by the name of their benchmark."""
    benchmarks = {name: [as_record(finding) for finding in found] for name, found in findings.items()}
    Path(path).write_text(json.dumps({"machine": record, "benchmarks": benchmarks}, indent=2) + "\n")
