"""Make a table and its plot from run records."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from selectmm.cache.write_errors import written_to
from selectmm.records.files import load
from selectmm.report.pairing import tallies_of
from selectmm.report.references import check_there
from selectmm.report.report import write_report
from selectmm.screen import answer


def main(arguments: Sequence[str]) -> None:
    """Read the records, write the page and its pictures.

    Raises:
        UserError: a record cannot be read, there is nothing to show, or the page cannot be written.
    """
    asked = _parser().parse_args(arguments)
    records = [load(path) for path in asked.records]
    check_there(asked.references)
    tallies = tallies_of(zip(asked.records, records, strict=True))
    with written_to(asked.to, "folder"):
        report = write_report(records, asked.to, asked.name, asked.references, tallies=tallies, html=asked.html)
    print(f"\nTable    {report.markdown}\nPicture  {report.pngs[0]} and .svg")
    if report.html is not None:
        print(f"Page     {report.html}")
    answer(report.as_json())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("selectmm report", description=__doc__)
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD", help="run records (JSON files)")
    parser.add_argument(
        "--to", type=Path, default=Path("results/tables"), help="folder to write to (default: results/tables)"
    )
    parser.add_argument("--name", default="report", help="file name without ending, and title (default: report)")
    parser.add_argument(
        "--references",
        nargs="+",
        default=(),
        type=Path,
        help="scores of untuned models, files of selectmm references; each table uses those of its model and prompts",
    )
    parser.add_argument("--html", action="store_true", help="write the page as one HTML file too, to open in a browser")
    return parser
