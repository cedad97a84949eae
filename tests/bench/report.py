"""What a run of the benchmarks says: a table for people, JSON for comparison, and the machine in both."""

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .harness import Duration, Finding, Ratio, Share, cores, median_wall_s

AnyFinding = Finding | Duration | Share

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


def table(findings: Iterable[AnyFinding]) -> str:
    """One line per finding; times are medians of one turn, ratios medians over the rounds (ours is so much faster, or
    takes so much of the whole)."""
    rows = [HEADER]
    for finding in findings:
        rows.append(
            (
                finding.what,
                *CELLS[type(finding)](finding),
                {True: "reached", False: "MISSED", None: ""}[finding.reached],
            )
        )
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


def _of_share(finding: Share) -> tuple[str, ...]:
    ratio = finding.ratio
    part, whole = (_duration(statistics.median(turns)) for turns in (finding.part_s, finding.whole_s))
    spread = f"{ratio.least:.1%} .. {ratio.most:.1%}"
    return f"{finding.part} {part}", f"whole {whole}", f"{ratio.median:.1%}", spread, "-", "-", "-", "-"


CELLS = {Finding: _of_ratio, Duration: _of_duration, Share: _of_share}


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def as_record(finding: AnyFinding) -> dict[str, Any]:
    """A finding as plain values, every turn included."""
    record = asdict(finding) | {"reached": finding.reached}
    if isinstance(finding, Duration):
        return record | {"median_s": finding.median_s}
    record["ratio"] = _rounded(finding.ratio)
    return record if isinstance(finding, Share) else record | {"cpu_ratio": _rounded(finding.cpu_ratio)}


def _rounded(ratio: Ratio) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(ratio).items()}


def write_json(path: str, record: dict[str, Any], findings: dict[str, list[AnyFinding]]) -> None:
    """The machine's record and all findings, by the name of their benchmark."""
    benchmarks = {name: [as_record(finding) for finding in found] for name, found in findings.items()}
    Path(path).write_text(json.dumps({"machine": record, "benchmarks": benchmarks}, indent=2) + "\n")
