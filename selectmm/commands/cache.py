"""List the stages in the cache, sum up what they take, or remove some: ls, du, prune.

A cache is the folder that 'cache' of the runs names. What is in use is never removed: every run holds a lock on each
stage that it reads, until it ends. prune only lists what it would remove; with --yes it removes it, without asking.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selectmm.cache.inventory import Entry, Inventory, printable, take_inventory
from selectmm.cache.progress import wide
from selectmm.cache.prune import choose, remove, remove_leftovers, sum_of
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.screen import answer

COLUMNS = ("stage", "name", "what", "state", "in use", "used", "size", "device-seconds")
LEFT = 4  # columns of words; the others hold numbers
IN_USE = {True: "yes", False: "no", None: "unknown"}
STEPS = ((86400, "d"), (3600, "h"), (60, "min"))


def main(arguments: Sequence[str]) -> None:
    """Run ``ls``, ``du`` or ``prune``, as the first word says.

    Raises:
        UserError: the folder is not a cache, or something in it cannot be removed.
    """
    asked = _parser().parse_args(arguments)
    asked.run(asked, take_inventory(asked.cache), wide())


def _ls(asked: argparse.Namespace, inventory: Inventory, console: Console) -> None:
    _list(inventory.entries, console)
    _print_rest(inventory, console)
    answer({"cache": inventory.root, "stages": [_plain(entry) for entry in inventory.entries]})


def _du(asked: argparse.Namespace, inventory: Inventory, console: Console) -> None:
    kinds = {}
    table = _table(("stage", "finished", "partial", "in use", "size", "device-seconds"), 1)
    for name in [*sorted({entry.stage for entry in inventory.entries}), "all"]:
        some = [entry for entry in inventory.entries if name in (entry.stage, "all")]
        size, seconds = sum_of(some)
        partial = sum(entry.state == "partial" for entry in some)
        used = sum(entry.in_use is True for entry in some)
        counts = {"finished": len(some) - partial, "partial": partial, "in_use": used}
        kinds[name] = {**counts, "size": size, "device_seconds": seconds}
        table.add_row(name, f"{len(some) - partial:,}", f"{partial:,}", f"{used:,}", _size(size), f"{seconds:,.1f}")
    console.print(table)
    _print_rest(inventory, console)
    answer({"cache": inventory.root, "kinds": kinds})


def _prune(asked: argparse.Namespace, inventory: Inventory, console: Console) -> None:
    given = {"unused_days": asked.unused_days, "max_gib": asked.max_gib, "unfinished": asked.unfinished}
    chosen = choose(inventory, time.time(), asked.stage or (), **given)
    if asked.yes:
        chosen = [entry for entry in chosen if remove(inventory.root, entry)]
        remove_leftovers(inventory)
    _list(chosen, console)
    size, seconds = sum_of(chosen)
    leftovers = inventory.leftovers
    begin = "Removed" if asked.yes else "Would remove"
    also = f"; and {counted(len(leftovers), 'leftover')}" if leftovers else ""
    end = "" if asked.yes else " Nothing is removed yet: add --yes."
    sentence = (
        f"{begin} {counted(len(chosen), 'stage')}, {_size(size)}, which took {seconds:,.1f} device-seconds{also}.{end}"
    )
    console.print(sentence, markup=False, highlight=False)
    left, narrowed = sum_of(inventory.entries)[0] - size, asked.stage or asked.unfinished or asked.unused_days
    if asked.max_gib is not None and left > asked.max_gib * 2**30:
        why = "no other stage fits the options that were given" if narrowed else "the others are, or may be, in use"
        console.print(f"{_size(left)} are left, more than --max-gib {asked.max_gib:g}: {why}.", highlight=False)
    _print_kept(inventory, console)
    removed = {"cache": inventory.root, "removed": asked.yes, "stages": [_plain(entry) for entry in chosen]}
    answer({**removed, "leftovers": leftovers})


def _plain(entry: Entry) -> dict[str, Any]:
    """A stage for scripts: bytes, device-seconds, and seconds since 1970."""
    return {name: value for name, value in asdict(entry).items() if name != "what"}


def _print_kept(inventory: Inventory, console: Console) -> None:
    used = sum(entry.in_use is True for entry in inventory.entries)
    unknown = sum(entry.in_use is None for entry in inventory.entries)
    if used:
        console.print(f"{counted(used, 'stage')} in use: never removed.", highlight=False)
    if unknown:
        console.print(
            f"{counted(unknown, 'stage')} may be in use, which this file system or your rights do not let us see: "
            f"never removed.",
            highlight=False,
        )


def _print_rest(inventory: Inventory, console: Console) -> None:
    """What is in the cache beside its stages."""
    for found, what in (
        (inventory.leftovers, "that no run will look at again; prune --yes removes them"),
        (inventory.links, "that are symbolic links, neither followed nor removed"),
        (inventory.others, "that are no stages, left alone"),
    ):
        if found:
            first = printable(str(found[0].relative_to(inventory.root)))
            console.print(f"Also there, {what}: {len(found):,} (first: {first})", markup=False, highlight=False)


def _list(entries: Sequence[Entry], console: Console) -> None:
    if not entries:
        return
    table, now = _table(COLUMNS, LEFT), time.time()
    for entry in entries:
        name = entry.folder.name
        cost = "unknown" if entry.device_seconds is None else f"{entry.device_seconds:,.1f}"
        numbers = (IN_USE[entry.in_use], _age(now - entry.used), _size(entry.size), cost)
        table.add_row(*(Text(cell) for cell in (entry.stage, name, entry.what or "–", entry.state, *numbers)))
    console.print(table)


def _table(columns: Sequence[str], left: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", no_wrap=column != "what")
    return table


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def _age(seconds: float) -> str:
    """How long ago, in the largest unit that fits."""
    for length, unit in STEPS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "now"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "selectmm cache", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="ls|du|prune")
    runs: dict[str, tuple[Callable, str]] = {
        "ls": (_ls, "every stage: what it is, whether a run uses it, when one did, its size and cost"),
        "du": (_du, "the sums by kind of stage"),
        "prune": (
            _prune,
            "remove stages that match the options; without options, only leftovers of interrupted commands",
        ),
    }
    for name, (run, summary) in runs.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument(
            "--cache", type=Path, default=Path("outputs/cache"), metavar="FOLDER", help="default: outputs/cache"
        )
        command.set_defaults(run=run)
    prune = commands.choices["prune"]
    prune.add_argument("--stage", action="append", metavar="NAME", help="only stages of this kind (may be repeated)")
    prune.add_argument(
        "--unused-days", type=_number, metavar="DAYS", help="only what no run has used for this many days"
    )
    prune.add_argument("--unfinished", action="store_true", help="only stages that no run has finished")
    prune.add_argument(
        "--max-gib", type=_number, metavar="GIB", help="only until the cache has this size, least recently used first"
    )
    prune.add_argument("--yes", action="store_true", help="remove the stages; without it they are only listed")
    return parser


def _number(word: str) -> float:
    """A number that is not below zero.

    Raises:
        UserError: it is none.
    """
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UserError(f"'{word}' is not a number of days or GiB; give one that is 0 or more.")
    return number
