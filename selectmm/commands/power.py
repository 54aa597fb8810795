"""Plan a comparison: how many seeds and items are needed to detect a difference from random?"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table as Grid

from selectmm.cache.progress import PrintableConsole, wide
from selectmm.errors import UserError
from selectmm.records.files import load
from selectmm.records.groups import Group, comparable
from selectmm.report.pairing import tallies_of
from selectmm.report.power import POWER, Design, Spread, smallest_difference, spread_of
from selectmm.report.references import check_there, references_of_table
from selectmm.report.relative import longest, once_a_seed
from selectmm.report.rows import Comparison, compare
from selectmm.report.verdict import verdicts
from selectmm.screen import answer, message


def main(arguments: Sequence[str]) -> None:
    """Estimate the spread from existing records; print the smallest difference for each number of seeds and items.

    Raises:
        UserError: the records do not allow an estimate, or an option is no positive number.
    """
    asked = _parser().parse_args(arguments)
    if asked.methods < 1 or min(asked.seeds) < 2 or min(asked.items) <= 0 or asked.references_per_seed < 1:
        raise UserError(
            "--methods and --references-per-seed must be 1 or more, --seeds 2 or more, and --items above 0."
        )
    records = [load(path) for path in asked.records]
    files = [asked.references] if asked.references else []
    check_there(files)
    tallies = tallies_of(zip(asked.records, records, strict=True))
    groups = comparable(sorted(records, key=lambda record: record.name))
    group = max(groups, key=lambda one: len(one.records))
    comparison = compare(group.records, references_of_table(files, group.records), tallies)
    spread = spread_of(comparison)
    designs = [[_design(seeds, items, asked) for items in asked.items] for seeds in asked.seeds]
    smallest = {design: smallest_difference(spread, design) for row in designs for design in row}
    _show(comparison, spread, asked, smallest, wide())
    if len(groups) > 1:
        message(
            f"Only the largest of {len(groups)} groups of records that can be compared was used, {len(group.records)} "
            f"of {len(records)} records{_apart(group)}. Name the records of another group to use that."
        )
    answer(
        {
            "power": POWER,
            "spread": asdict(spread),
            "designs": [{**asdict(design), "smallest_difference": found} for design, found in smallest.items()],
        }
    )


def _apart(group: Group) -> str:
    return f"; they differ from the others in {group.apart}" if group.apart else ""


def _design(seeds: int, items: float, asked: argparse.Namespace) -> Design:
    references = seeds * asked.references_per_seed
    return Design(seeds, references, references, items, asked.methods, asked.methods)


def _show(
    comparison: Comparison,
    spread: Spread,
    asked: argparse.Namespace,
    smallest: Mapping[Design, float | None],
    console: PrintableConsole,
) -> None:
    grid = Grid(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    grid.add_column("seeds", justify="right")
    for items in asked.items:
        grid.add_column(f"items × {items:g}", justify="right")
    for seeds in asked.seeds:
        grid.add_row(str(seeds), *(_cell(smallest[_design(seeds, items, asked)]) for items in asked.items))
    console.print(
        f"Smallest difference from random, in points of Rel., that is significant with {100 * POWER:.0f} % probability "
        f"(two-sided, {asked.methods} methods, Holm correction). Random and full run have {_times(asked)} "
        f"seeds as a method."
    )
    console.print(grid)
    for note in notes(comparison, spread):
        console.print(f"· {note}")


def _times(asked: argparse.Namespace) -> str:
    times = asked.references_per_seed
    return "as many" if times == 1 else f"{times} times as many"


def _cell(difference: float | None) -> str:
    return "unknown" if difference is None else f"{difference:.1f}"


def notes(comparison: Comparison, spread: Spread) -> list[str]:
    """Sentences on where the spread comes from, and how the records' own intervals compare with it."""
    margins = sorted(verdict.found.margin for verdict in verdicts(comparison) if not verdict.row.full)
    fulls = f"{spread.fulls**0.5:.1f} between full runs"
    if len(once_a_seed(longest(comparison.fulls))) == 1:
        fulls = "unknown between full runs, as there is one, and taken as 0"
    return [
        f"Estimated from {len(comparison.records)} records, {len(comparison.counted)} benchmarks above chance "
        f"({', '.join(comparison.counted)}); {spread.freedom} degrees of freedom between seeds.",
        f"Standard deviations, in points of Rel.: {spread.items**0.5:.1f} over items between two methods; "
        f"{spread.answers**0.5:.1f} over items for one run and seed; {spread.seeds**0.5:.1f} between seeds beyond "
        f"that; {fulls}.",
        f"The records' own 95 % intervals are ± {margins[0]:.1f} to {margins[-1]:.1f}, before correction.",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("selectmm power", description=__doc__)
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD", help="run records (JSON files)")
    parser.add_argument("--methods", type=int, default=10, help="methods compared with random (default 10)")
    parser.add_argument("--seeds", type=_numbers(int), default=[3, 5, 10], help="seeds per method (default 3,5,10)")
    parser.add_argument(
        "--items",
        type=_numbers(float),
        default=[1.0, 2.0, 4.0, 8.0],
        help="benchmark items as a multiple of those in the records (default 1,2,4,8)",
    )
    parser.add_argument(
        "--references-per-seed",
        type=int,
        default=1,
        help="seeds of random and full for each seed of a method (default 1)",
    )
    parser.add_argument("--references", type=Path, help="JSON of reference scores by benchmark")
    return parser


def _numbers(kind: type[int] | type[float]) -> Callable[[str], list[int] | list[float]]:
    def read(text: str) -> list[int] | list[float]:
        return [kind(part) for part in text.split(",")]

    read.__name__ = "list"  # argparse names it in its message
    return read
