"""The next batch is read and encoded while the model answers the one before."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Ready = TypeVar("Ready")


@dataclass
class Ahead(Generic[Ready]):
    """Batches that are made ready, one ahead of the model.

    Attributes:
        make: what makes items ready. pool: the one thread that calls it; None where the processors are the model's.
    """

    make: Callable[[Sequence[int]], Ready]
    pool: ThreadPoolExecutor | None
    _coming: dict[tuple[int, ...], Future[Ready]] = field(default_factory=dict)

    def coming(self, items: Sequence[int]) -> None:
        """Begin to make ready what will be asked next."""
        if self.pool is not None:
            self._coming[tuple(items)] = self.pool.submit(self.make, items)

    def take(self, items: Sequence[int]) -> Ready:
        """The items made ready: before, if they were said to come, or now.

        Raises:
            whatever ``make`` raises.
        """
        begun = self._coming.pop(tuple(items), None)
        if begun is None and self.pool is not None:
            begun = self.pool.submit(self.make, items)  # never in two threads at once
        return self.make(items) if begun is None else begun.result()


@contextmanager
def one_ahead(make: Callable[[Sequence[int]], Ready], *, in_thread: bool) -> Iterator[Ahead[Ready]]:
    """`Ahead` for the length of the block; ``in_thread``: whether anything is made ready before it is asked for."""
    if not in_thread:
        yield Ahead(make, None)
        return
    with ThreadPoolExecutor(1, "ahead") as pool:
        try:
            yield Ahead(make, pool)
        finally:
            pool.shutdown(cancel_futures=True)
