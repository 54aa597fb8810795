"""The embedded model, put together once for all tests that need it."""

from pathlib import Path

import pytest

from selectmm.models.vlm import VLM
from selectmm.quickstart import base


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="session")
def vlm(folder: Path) -> VLM:
    return base.load(device="cpu", folder=str(folder))
