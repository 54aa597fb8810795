"""The embedded model and pool, made once for all tests that need them."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from selectmm.models.vlm import VLM
from selectmm.quickstart import base, language, pool


@pytest.fixture(autouse=True, scope="package")
def _read_once() -> Iterator[None]:
    """Finding the tensors in the file of SmolLM2's weights takes a second, and several tests put a model together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language, "_Reader", cache(language._Reader))
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="session")
def vlm(folder: Path) -> VLM:
    return base.load(device="cpu", folder=str(folder))


@pytest.fixture(scope="session")
def pool_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pool.write(tmp_path_factory.mktemp("pool"))
