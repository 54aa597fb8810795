"""Much small work on several threads, with little of it waiting at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WAITING = 8  # results per thread that are begun before the first is asked for; the rest of the items take no memory


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Compute ``map(work, items)``, in order, on so many threads.

    `ThreadPoolExecutor.map` makes a future for every item before the first result: a gigabyte for the images of
    LLaVA-665K.
    """
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[Result]] = deque()
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) == threads * WAITING:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
