"""A tuned tiny model of each family: its base, its pool and the folder of its adapter."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from selectmm.models.encode import Conversation, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from tests.families import FAMILIES
from tests.tiny import write_pool
from tests.tuning.conftest import SMALL, Bench

RECIPE_HERE = replace(SMALL, epochs=1, warmup=0.0, max_length=512, checkpoint_every=100)  # two steps


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    file, images = write_pool(folder, rows=8)
    return open_llava_json(str(file), str(images), "stop", folder / "cache")


TUNED = ("llava_vicuna", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl3", "llava_onevision")


@pytest.fixture(scope="session", params=TUNED)
def tuned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> tuple[Bench, Path]:
    """A base, its pool, and the folder of an adapter; the projector was trained in full."""
    build = FAMILIES[request.param].build(tmp_path_factory.mktemp(request.param) / "base")
    bench = Bench(instantiate(build), build, pool)
    folder = tmp_path_factory.mktemp("adapter")
    bench.tune(folder, RECIPE_HERE)
    return bench, folder


def batch_of(vlm: VLM, pool: Pool) -> dict[str, torch.Tensor]:
    """A row with an image and one without, as the line encodes them."""
    rows = [pool[0], pool[3]]
    talks = [Conversation(r.turns, (pool.open_image(r.image),) if r.image else ()) for r in rows]
    return inputs_of(encode(vlm, talks, side="right", limit=None))


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Bench:
    """An untuned LLaVA and the pool."""
    build = FAMILIES["llava_vicuna"].build(tmp_path_factory.mktemp("bench") / "base")
    return Bench(instantiate(build), build, pool)
