"""What a person sees: progress with an estimate of the time left, and a screen that cuts no number."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from selectmm.printable import printable
from selectmm.screen import message, of_job, quiet

T = TypeVar("T")

PAUSE = 300  # seconds between two lines on progress in a log file


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield ``items`` and show how many of ``total`` are done, as `progress` does."""
    with progress(what, total) as show:
        for done, item in enumerate(items, 1):
            yield item
            show(done, "")


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Yields what takes how many of ``total`` are done, and a text that is shown beside it.

    On a terminal a bar shows it, with the time passed and the time left. Elsewhere, in the log file of a batch job for
    example, it is a line every five minutes, so that short work leaves none. ``--quiet`` shows neither.
    """
    if quiet():
        yield lambda done, beside: None
    elif sys.stdout.isatty():
        with _bar(what, total) as show:
            yield show
    else:
        yield _lines(what, total)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[beside]}"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(of_job(what), total=total, beside="")
        yield lambda done, beside: bar.update(task, completed=done, beside=beside)


def _lines(what: str, total: int) -> Callable[[int, str], None]:
    began = last = time.monotonic()

    def show(done: int, beside: str) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= PAUSE and 0 < done < total:
            last = now
            left = (now - began) / done * (total - done) / 60
            message(f"  {what}: {done:,} of {total:,}{', ' if beside else ''}{beside}; about {left:,.0f} min left")

    return show


class PrintableConsole(Console):
    """A console that prints texts literally, since they may come from a stranger's file.

    Rich's markup is off, and control characters are escaped (`selectmm.printable.printable`). Both hold for texts that
    are printed and for the cells of tables, as long as they are `str` and not rich's ``Text``.
    """

    def __init__(self, width: int, file: TextIO | None = None) -> None:
        super().__init__(width=width, file=file, markup=False, highlight=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Where rich turns every text into what it prints; see `Console.render_str`."""
        return super().render_str(printable(text), **options)


def wide(columns: int = 140) -> PrintableConsole:
    """The terminal, or ``columns`` where it is narrower or there is none (a pipe): rich would cut a table's numbers."""
    return PrintableConsole(max(Console().width, columns))
