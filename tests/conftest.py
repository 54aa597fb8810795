"""One thread per process: on two shared cores, threads that wait for each other cost more than they give."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny LLaVA and a pool of 24 rows, for a run by `tests.test_line.overrides`."""
    from tests.tiny import tiny_llava, write_pool  # transformers, which most tests do without

    folder = tmp_path_factory.mktemp("place")
    tiny_llava(folder / "llava")
    write_pool(folder / "pool", rows=24)
    return folder
