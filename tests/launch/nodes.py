"""Two nodes on one machine: this process is node 0, and a thread of it is node 1."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from selectmm.launch.nodes import Nodes, free_port, leading
from selectmm.launch.place import Place
from selectmm.methods.method import Method
from selectmm.methods.random import Random
from selectmm.schedules.static import Static
from selectmm.stages.follow import follow, same_on_all


def experiment(
    pool: str = "pool",
    device: str = "cpu",
    devices: int = 2,
    method: Method | None = None,
    tasks: Path | None = None,
    **config: object,
) -> SimpleNamespace:
    """What a node reads of an experiment."""
    opened = SimpleNamespace(fingerprint=pool)
    config = {"model": {"device": "cpu"}, **config}
    return SimpleNamespace(
        config=config, scale="embedded", device=device, devices=devices, open_pool=lambda: opened,
        method=method or Random(), schedule=Static(), suite=SimpleNamespace(tasks=tasks),
    )  # fmt: skip


@contextmanager
def two_nodes(
    cache: Path,
    first: SimpleNamespace | None = None,
    second: SimpleNamespace | None = None,
    seconds: float = 60.0,
    other: Callable[[Place, SimpleNamespace], None] = follow,
    port: int | None = None,
) -> Iterator[tuple[Nodes, Future]]:
    """Lead for the length of the block; yields the nodes and what becomes of node 1."""
    first, port = first or experiment(), port or free_port()
    places = [Place(2, node, host="127.0.0.1", port=port, seconds=seconds) for node in range(2)]
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(other, places[1], second or first)
        with leading(places[0], same_on_all(first, places[0]), cache) as nodes:
            yield nodes, following
