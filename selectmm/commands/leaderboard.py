"""Make one HTML page of run records, to filter and sort."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from selectmm.cache.write_errors import written_to
from selectmm.counted import counted
from selectmm.records.files import load
from selectmm.report.leaderboard.page import address, write_leaderboard
from selectmm.report.references import check_there
from selectmm.screen import answer


def main(arguments: Sequence[str]) -> None:
    """Read the records, write the page.

    Raises:
        UserError: a record cannot be read or does not validate, there is none, or the page cannot be written.
    """
    asked = _parser().parse_args(arguments)
    check_there(asked.references)
    records = {address(path, asked.to): load(path) for path in sorted(asked.records)}
    with written_to(asked.to, "file"):
        boards = write_leaderboard(records, asked.to, asked.references)
    rows = sum(len(board["rows"]) for board in boards)
    counts = counted(len(records), "record"), counted(rows, "row"), counted(len(boards), "board")
    print("Leaderboard  {}: {}, {} on {}".format(asked.to, *counts))
    answer({"page": asked.to, "records": len(records), "boards": boards})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("selectmm leaderboard", description=__doc__)
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD", help="run records (JSON files)")
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("results/leaderboard.html"),
        help="the page to write (default: results/leaderboard.html)",
    )
    parser.add_argument(
        "--references",
        nargs="+",
        default=(),
        type=Path,
        help="scores of untuned models, files of selectmm references; each board uses those of its model and prompts",
    )
    return parser
