"""A tiny model of each family, a tiny pool, and one recipe that fits them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch

from selectmm.launch.nodes import ALONE, Nodes
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.tuning.finetune import finetune
from selectmm.tuning.recipe import Recipe, Strategy
from tests.tiny import tiny_llava, tiny_qwen2_vl, write_pool

RECIPE = Recipe(
    name="tiny",
    length="epochs",
    epochs=2,
    batch_size=8,
    micro_batch=2,
    tune="lora",
    rank=4,
    alpha=8,
    dropout=0.1,
    lora_layers="all",
    projector="full",
    lr=1e-2,
    projector_lr=1e-3,
    vision_lr=0.0,
    weight_decay=0.01,
    warmup=0.1,
    clip=0.05,
    max_length=256,
    packing=False,
    precision="32-true",
    gradient_checkpointing=False,
    checkpoint_every=2,
)
SMALL = replace(RECIPE, batch_size=4)  # six steps of FEW; two passes a step
FEW = np.arange(12)  # nine rows with an image and three without, which end in a batch of both
SINGLE = Strategy("single", 1)


@dataclass(frozen=True)
class Bench:
    """A model, how to build it again, and a pool of 24 rows."""

    vlm: VLM
    build: dict[str, object]
    pool: Pool

    def tune(
        self,
        folder: Path,
        recipe: Recipe = SMALL,
        strategy: Strategy = SINGLE,
        rows: np.ndarray | None = None,
        log: Callable[[dict[str, float]], None] = lambda entry: None,
        nodes: Nodes = ALONE,
    ) -> list[float]:
        """Fine-tune into ``folder``, on `FEW` rows if none are given, and return the logged losses."""
        folder.mkdir(exist_ok=True)
        losses = []

        def keep(entry: dict[str, float]) -> None:
            losses.append(entry["loss"])
            log(entry)

        rows = FEW[: len(self.pool)] if rows is None else rows
        finetune(self.vlm, self.pool, rows, recipe, strategy, 0, folder, keep, self.build, nodes=nodes)
        return losses


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and threads that wait for a busy core cost seconds per step."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    file, images = write_pool(folder)
    return open_llava_json(str(file), str(images), "stop", folder / "cache")


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Bench:
    path = str(tiny_llava(tmp_path_factory.mktemp("llava")))
    build = {"_target_": "selectmm.models.llava.load", "path": path, "template": "chatml", "device": "cpu"}
    return Bench(hydra.utils.instantiate(build), build, pool)


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Bench:
    path = str(tiny_qwen2_vl(tmp_path_factory.mktemp("qwen")))
    build = {"_target_": "selectmm.models.qwen2_vl.load", "path": path, "device": "cpu"}
    return Bench(hydra.utils.instantiate(build), build, pool)
