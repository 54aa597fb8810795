"""The progress bar of a training run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def step_bar(steps: int) -> Iterator[Callable[[dict[str, float]], None]]:
    """A bar over ``steps`` with the loss and the time left; yields what takes each line of ``losses.jsonl``."""
    columns = (
        TextColumn("  fine-tune"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("", total=steps, loss="–")
        yield lambda entry: bar.update(task, completed=entry["step"], loss=f"{entry['loss']:.3f}")
