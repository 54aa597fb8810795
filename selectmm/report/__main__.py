"""``python -m selectmm.report RECORD… --to results/tables --name quickstart``: the page again, from records alone."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from selectmm.errors import UserError
from selectmm.records.record import load
from selectmm.report.references import references_for
from selectmm.report.report import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; a user's error is one sentence on stderr and status 1."""
    asked = _parser().parse_args(arguments)
    try:
        records = [load(path) for path in asked.records]
        references = references_for(asked.references, records) if asked.references else {}
        report = write_report(records, asked.to, asked.name, references)
    except UserError as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"\nTable    {report.markdown}\nPicture  {report.pngs[0]} and .svg")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m selectmm.report", description="Make a table and its picture again.")
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD", help="run records (JSON files)")
    parser.add_argument("--to", type=Path, default=Path("results/tables"), help="folder to write to")
    parser.add_argument("--name", default="report", help="file name without ending, and title")
    parser.add_argument("--references", type=Path, help="JSON of reference scores by benchmark")
    return parser


if __name__ == "__main__":
    sys.exit(main())
