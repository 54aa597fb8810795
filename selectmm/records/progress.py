"""What a person sees: progress bars with an estimate of the time left, and a screen that cuts no number."""

from collections.abc import Iterable, Iterator
from typing import Any, TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from selectmm.printable import printable

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
