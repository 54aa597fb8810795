"""Compare two runs item by item: difference per benchmark, 95 % interval, significance."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from selectmm.cache.progress import wide
from selectmm.screen import answer
from selectmm.statistics.compare import compare_files
from selectmm.statistics.page import as_json, show


def main(arguments: Sequence[str]) -> None:
    """Read two records with their answers and print the comparison.

    Raises:
        UserError: a record or its answers cannot be read, or the two did not answer the same items.
    """
    asked = _parser().parse_args(arguments)
    pair = compare_files(asked.first, asked.second)
    show(pair, wide())
    answer(as_json(pair))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("selectmm compare", description=__doc__)
    parser.add_argument("first", type=Path, metavar="RECORD", help="a run record (JSON file), its answers beside it")
    parser.add_argument("second", type=Path, metavar="RECORD", help="another run of the same suite")
    return parser
