"""What a person sees: progress bars with an estimate of the time left, and a screen that cuts no number."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield ``items`` while a bar named ``what`` shows how many of ``total`` are done, time passed and time left."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        yield from bar.track(items, total=total, description=what)


def wide(columns: int = 140) -> Console:
    """The terminal, or ``columns`` where it is narrower or there is none (a pipe): rich would cut a table's numbers."""
    return Console(width=max(Console().width, columns))
