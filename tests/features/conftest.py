"""A tiny model of each family and a pool of 12 rows, opened once."""

import pytest

from selectmm.models import llava, qwen2_vl
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from tests.tiny import tiny_llava, tiny_qwen2_vl, write_pool


@pytest.fixture(scope="session", params=["llava", "qwen2_vl"])
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VLM:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "llava":
        return llava.load(str(tiny_llava(folder)), device="cpu")
    return qwen2_vl.load(str(tiny_qwen2_vl(folder)), device="cpu")


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    file, images = write_pool(folder, rows=12)
    return open_llava_json(str(file), str(images), "stop", folder / "cache")
