"""`python -m tests.bench [NAME ...]`: run benchmarks, print ratios, keep them as JSON."""

import argparse

from . import accounting, decode, epoch, fewer, labels, loader, occlusion, online, profile, selection, startup, step
from .harness import Options
from .report import AnyFinding, headline, machine, table, write_json

BENCHMARKS = {
    "selection": selection.run,
    "labels": labels.run,
    "step": step.run,
    "occlusion": occlusion.run,
    "decode": decode.run,
    "loader": loader.run,
    "epoch": epoch.run,
    "online": online.run,
    "startup": startup.run,
    "profile": profile.run,
    "accounting": accounting.run,
    "fewer": fewer.run,
}


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Ratios of two things timed in one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--runs", type=int, help="rounds that count (default: 7; 2 with --quick)")
    parser.add_argument("--quick", action="store_true", help="few images, no warm-up: shows that it runs, no more")
    parser.add_argument("--json", metavar="FILE", help="write every turn, the machine and the versions to FILE")
    chosen = parser.parse_args(args)
    if unknown := [name for name in chosen.names if name not in BENCHMARKS]:
        parser.error(f"expected names among {', '.join(BENCHMARKS)}, found {unknown[0]}")
    if chosen.runs is not None and chosen.runs < 1:
        parser.error(f"--runs: expected at least 1, found {chosen.runs}")
    options = Options(chosen.runs or (2 if chosen.quick else 7), chosen.quick)

    record, findings = machine(), {}
    print(headline(record), flush=True)
    for name in chosen.names or BENCHMARKS:
        findings[name] = BENCHMARKS[name](options)
        print(f"\n{name}: {options.runs} rounds\n{table(findings[name])}", flush=True)
    summarise(findings)
    if chosen.json:
        write_json(chosen.json, record, findings)


def summarise(findings: dict[str, list[AnyFinding]]) -> None:
    """How many targets were reached; a missed one is no error, for the machine may have been busy."""
    verdicts = [finding.reached for found in findings.values() for finding in found if finding.reached is not None]
    print(f"\n{sum(verdicts)} of {len(verdicts)} targets reached")


if __name__ == "__main__":
    main()
