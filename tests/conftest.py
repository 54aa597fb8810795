"""What all tests share: the order of the files, one thread per process, and the place of a run.

On two shared cores, threads that wait for each other cost more than they give.
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, settings

from selectmm.cache.provenance import SWEEP_NAME
from selectmm.imports import uncollected
from selectmm.screen import JOB

if TYPE_CHECKING:
    from selectmm.models.vlm import VLM

# Machines are shared: no test fails because something took long.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
# A fork never collects what was garbage before it: some of it, such as a TCPStore, waits at its end for a thread of its
# own, which the fork does not have.
os.register_at_fork(after_in_child=gc.freeze)

# Files that take longest, so that `make test` begins with them and does not end with one core waiting for the other.
LONGEST = (
    "tuning/test_strategies.py",
    "test_line.py",
    "stages/test_select.py",
    "experiments/test_papers.py",
    "test_main.py",
    "quickstart/test_base.py",
    "tuning/test_families.py",
    "features/test_ranks.py",
    "test_readme.py",
    "test_tutorials.py",
    "stages/test_schedule.py",
    "experiments/test_page.py",
    "launch/test_nodes.py",
    "tuning/test_full.py",
    "evaluation/test_workers.py",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Every process imports all tests and what they test, and forks many others, which need not look through that."""
    with uncollected():
        if any(Path(argument).is_dir() for argument in session.config.args):
            import wandb  # noqa: F401  (a second now, and five once torch and transformers are there, through which it looks)
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all others stay in their order."""
    place = {Path(__file__).parent / file: number for number, file in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(autouse=True)
def unnumbered() -> Iterator[None]:
    """A sweep that runs inside a test, or a job of one, names itself in the environment, but for no test after it."""
    yield
    os.environ.pop(JOB, None)
    os.environ.pop(SWEEP_NAME, None)


@pytest.fixture(autouse=True)
def benchmarks_made_once(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new cache has a copy of the mini-benchmarks in tests that could ask for them."""
    if "selectmm.quickstart.embedded" in sys.modules:
        from tests.benchmarks import copied

        base = tmp_path_factory.getbasetemp()  # with -n a folder of each process, inside one of all
        shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mini-benchmarks"
        monkeypatch.setattr("selectmm.quickstart.embedded.suite_folder", copied(shared))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny LLaVA and a pool of 24 rows, for a run by `tests.test_line.overrides`."""
    from tests.tiny import tiny_llava, write_pool  # transformers, which most tests do without

    folder = tmp_path_factory.mktemp("place")
    tiny_llava(folder / "llava")
    write_pool(folder / "pool", rows=24)
    return folder


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> "Callable[[str], VLM]":
    """Loads a family's tiny model (`tests.families.FAMILIES`) once for all tests, which leave it as it is."""
    from tests.families import FAMILIES  # transformers, which most tests do without

    return cache(lambda name: FAMILIES[name].load(tmp_path_factory.mktemp(name)))
