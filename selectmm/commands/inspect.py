"""Show which rows a method kept and dropped, as one HTML page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from selectmm.cache.stage import write_atomically
from selectmm.cache.write_errors import written_to
from selectmm.command_line.arguments import read_arguments, record_parser
from selectmm.commands._asked import record_of, subset_and_pool
from selectmm.commands._recorded import confirm, recorded_cache
from selectmm.errors import UserError
from selectmm.methods.subset import load_subset
from selectmm.pool.pool import Pool
from selectmm.records.cached import subset_of
from selectmm.records.files import load
from selectmm.records.record import RunRecord
from selectmm.report.inspect.choice import Choice
from selectmm.report.inspect.page import page
from selectmm.screen import answer


def main(arguments: Sequence[str]) -> None:
    """Inspect a ``subset``, as the first word says.

    Raises:
        UserError: what is asked for is not there, does not fit together, or cannot be written.
    """
    what = arguments[0] if arguments else ""
    if what in {"-h", "--help"}:
        print(f"{__doc__}\n\n  selectmm inspect subset --help")
    elif what == "subset":
        _subset(arguments[1:])
    else:
        refused = f"'{what}' cannot be inspected; use" if what else "Use"
        raise UserError(f"{refused}: selectmm inspect subset --record FILE --to PAGE.html")


def _subset(arguments: Sequence[str]) -> None:
    parser = record_parser("inspect subset", str(__doc__))
    parser.add_argument(
        "--subset", type=Path, metavar="FOLDER", help="folder with a subset.json (default: the cached one)"
    )
    parser.add_argument(
        "--others",
        type=Path,
        nargs="+",
        default=[],
        metavar="WHERE",
        help="records or folders of subsets to compare with",
    )
    parser.add_argument(
        "--each", type=int, default=8, metavar="N", help="rows under each heading of the gallery (default: 8)"
    )
    asked = read_arguments(parser, arguments)
    record = record_of(asked, asked.subset, "--subset FOLDER and pool=…")
    found = [_recorded_subset(where, asked) for where in asked.others]
    folder, pool, _ = subset_and_pool(record, asked)
    choice = _choice(record, folder, pool)
    others = [_choice(*other, pool) for other in found]
    _write(asked.to, page(choice, others, max(1, asked.each)))
    print(f"Page  {asked.to}")
    answer({"page": asked.to})


def _choice(record: RunRecord | None, folder: Path, pool: Pool) -> Choice:
    subset = load_subset(folder / "subset.json", pool)
    facts = [("subset", subset.fingerprint), ("pool", pool.fingerprint)]
    if record is None:
        return Choice(folder.name, pool, subset, tuple(facts))
    options = ", ".join(f"{name}={value}" for name, value in record.method.options.items())
    details = [("options", options)] if options else []
    details += [("recipe", record.recipe.name), ("scale", record.scale), ("record", record.name)]
    details += [("command", record.provenance.command)]
    return Choice(_name(record), pool, subset, (*details, *facts), record.method.name)


def _recorded_subset(where: Path, asked: argparse.Namespace) -> tuple[RunRecord | None, Path]:
    """A subset to compare with, as its record and its folder; of a folder, no record is known."""
    if where.is_dir():
        return None, where
    record = load(where)
    cache, named = recorded_cache(record, asked.cache)
    confirm(named, asked.yes)
    return record, subset_of(record, cache)


def _name(record: RunRecord) -> str:
    return f"{record.method.name}, budget {record.budget:g}, seed {record.seed}"


def _write(to: Path, text: str) -> None:
    with written_to(to, "file"):
        to.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(to, text)
