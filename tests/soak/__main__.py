"""`python -m tests.soak [TRIAL ...]`: long trials, each with a table; exit status 1 where one fails."""

import argparse
import sys

from . import cover, generate_kills, kills, memory

TRIALS = {"cover": cover.run, "generate-kills": generate_kills.run, "kills": kills.run, "memory": memory.run}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Long trials, each with a table.")
    parser.add_argument("names", nargs="*", metavar="TRIAL", help=f"some of {', '.join(TRIALS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="the least of each trial: shows that it runs, no more")
    parser.add_argument("--dataset", help="for memory: stream this one instead of a made one")
    parser.add_argument("--image-size", type=int, help="for memory: side of the views")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.names if name not in TRIALS]:
        parser.error(f"expected trials among {', '.join(TRIALS)}, found {unknown[0]}")
    failed = []
    for name in chosen.names or TRIALS:
        arguments = (chosen.dataset, chosen.image_size) if name == "memory" else ()
        if not TRIALS[name](chosen.quick, *arguments):
            failed.append(name)
        print(flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all as promised")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
