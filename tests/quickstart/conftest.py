"""The embedded model and pool, made once for all tests that need them."""

from pathlib import Path

import pytest

from selectmm.models.vlm import VLM
from selectmm.quickstart import base, pool


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="session")
def vlm(folder: Path) -> VLM:
    return base.load(device="cpu", folder=str(folder))


@pytest.fixture(scope="session")
def pool_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pool.write(tmp_path_factory.mktemp("pool"))
