"""What a contamination check found, in words and as a table."""

from rich.table import Table as Grid

from selectmm.cache.progress import PrintableConsole
from selectmm.contamination.check import Contamination
from selectmm.contamination.search import Found
from selectmm.counted import counted

COLUMNS = ("benchmark", "items", "occur", "nearly", "picture", "nearly", "question", "nearly")


def sentence(checked: Contamination) -> str:
    """One line for a run's log."""
    total = checked.total
    return (
        f"of {counted(total.items, 'benchmark item')} {total.same:,} are in the pool and {total.near:,} nearly; "
        f"by image alone {total.same_pictures:,} and {total.near_pictures:,} nearly, "
        f"by question alone {total.same_questions:,} and {total.near_questions:,} nearly"
    )


def show(checked: Contamination, console: PrintableConsole) -> None:
    """Print a row per task, and how to read it."""
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in COLUMNS:
        grid.add_column(column, justify="left" if column == "benchmark" else "right", no_wrap=True)
    for name, found in {**checked.found, "all": checked.total}.items():
        grid.add_row(*_cells(name, found))
    console.print(grid)
    for note in notes(checked):
        console.print(f"· {note}")


def notes(checked: Contamination) -> list[str]:
    """Sentences under the table."""
    lines = [
        "occur: a row of the pool shows the item's picture and asks its question; of an item without a picture, asks "
        "its question. Nearly: at least one of the two is only nearly the same.",
        "picture, question: the one or the other alone. A templated question repeats by design and gives nothing away "
        "when the picture is another.",
        f"The items and their rows: {checked.listing}",
    ]
    if not checked.pool_images:
        lines.append("The pool has no images, so only questions were looked for.")
    return lines


def _cells(name: str, found: Found) -> tuple[str, ...]:
    shown = bool(found.shown)
    pictures = (f"{found.same_pictures}", f"{found.near_pictures}") if shown else ("–", "–")
    return (
        name,
        str(found.items),
        str(found.same),
        str(found.near),
        *pictures,
        str(found.same_questions),
        str(found.near_questions),
    )
