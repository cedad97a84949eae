"""`python -m tests.hostile`: the kinds of hostile data that these tests run, and what becomes of each."""

from tests.hostile import folders, pictures, tables, tars, weights

GROUPS = {
    "pictures": [(case.kind, case.error) for case in pictures.PICTURES],
    "tars": [(case.kind, case.read or case.packed) for case in tars.TARS],
    "Parquet sources": [(case.kind, case.error) for case in tables.SOURCES],
    "manifests": [(case.kind, case.reader or case.verify or None) for case in tables.ROWS],
    "label maps": [(case.kind, case.reader or case.verify or None) for case in tables.LABEL_ROWS],
    "datasets": [(case.kind, case.error) for case in folders.DATASETS],
    "runs": [(case.kind, case.error) for case in folders.RUNS],
    "selectors": [(case.kind, case.error) for case in folders.SELECTORS],
    "weights": [(case.kind, case.error) for case in weights.WEIGHTS],
    "checkpoints": [(case.kind, case.error) for case in weights.CHECKPOINTS],
}


def main() -> None:
    for group, cases in GROUPS.items():
        print(f"\n{group}: {len(cases)} kinds")
        for kind, why in cases:
            told = "used" if why is None else f"told: ... {why} ..." if why else "told"
            print(f"  {kind:<40} {told}")


if __name__ == "__main__":
    main()
