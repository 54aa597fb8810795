"""A pass by several processes: the same bits on any number, and what a dead rank had finished is not lost."""

import json
import os
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from torch import nn

from selectmm.cache.stage import fingerprint
from selectmm.errors import UserError
from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import Feature
from selectmm.features.gradients import GradientNorm
from selectmm.features.onepass import Pass, Sizes
from selectmm.features.ranks import Ranks
from selectmm.features.shards import covered, join, shards_in
from selectmm.features.states import ImageStates, JointStates
from selectmm.features.store import identity_of
from selectmm.features.tokens import TokenCount
from selectmm.launch import launch
from selectmm.models import llava
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.tuning.adapter import carry_adapter, injected, save_adapter
from tests.features.material import store_of
from tests.launch import forked_ranks
from tests.launch.nodes import two_nodes
from tests.tiny import tiny_llava, write_pool

FEATURES: list[Feature] = [ImageStates(1), JointStates(2), AnswerLoss(), AnswerLoss("answer"), GradientNorm()]
SEVENS = 7.0  # put in place of finished values, to see that they are not computed again


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA as a warm-up leaves it, which gradients are taken with respect to."""
    vlm, place = llava.load(str(folder), device="cpu"), tmp_path_factory.mktemp("adapter")
    with injected(vlm, LoraConfig(r=4, lora_alpha=8, target_modules=vlm.family.lora)) as wrapped:
        torch.manual_seed(1)
        weights = {name: 0.2 * torch.randn_like(w) for name, w in wrapped.named_parameters() if "lora_" in name}
        save_adapter(wrapped, weights, place)
    return place


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    place = tmp_path_factory.mktemp("pool")
    file, images = write_pool(place, rows=32)
    return open_llava_json(str(file), str(images), "stop", place / "cache")


@pytest.fixture(scope="module")
def alone(
    folder: Path, adapter: Path, pool: Pool, tmp_path_factory: pytest.TempPathFactory
) -> dict[Feature, np.ndarray]:
    """All features, made by this process."""
    with carry_adapter(llava.load(str(folder), device="cpu"), adapter) as vlm:
        return store_of(vlm, tmp_path_factory.mktemp("alone")).get(pool, FEATURES)


def dying(path: str) -> VLM:
    """A LLaVA whose rank 1 is killed as it begins its second shard (which is its second batch)."""
    vlm, batches = llava.load(path, device="cpu"), []

    def count(_module: nn.Module, _given: tuple) -> None:
        batches.append(1)
        if os.environ["RANK"] == "1" and len(batches) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    vlm.model.lm_head.register_forward_pre_hook(count)
    return vlm


@pytest.mark.slow
def test_a_dead_ranks_shard_is_computed_again_and_finished_ones_are_not(
    folder: Path,
    adapter: Path,
    pool: Pool,
    alone: dict[Feature, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two ranks, one of which is killed in the first pass, that over the answers; then a rank on each of two nodes."""
    whole = Ranks(2, {"_target_": "selectmm.models.llava.load", "path": str(folder), "device": "cpu"}, adapter)
    mortal = replace(whole, build={"_target_": f"{__name__}.dying", "path": str(folder)})
    killed = "killed from outside, as Linux does when main memory runs out; use fewer devices, or free some memory"
    with carry_adapter(llava.load(str(folder), device="cpu"), adapter) as vlm:
        with pytest.raises(UserError, match=killed):
            store_of(vlm, tmp_path, ranks=mortal).stages(pool, FEATURES)
        mark = fingerprint(identity_of(AnswerLoss("answer"), pool, vlm.identity, limit=512))
        answers = tmp_path / "features" / f"{mark}.partial"
        finished = covered(answers, len(pool))
        assert finished[4:8].all() and not finished[12:16].any(), "rank 1's first shard is done, its second is not"
        for shard in shards_in(answers):
            np.save(shard, np.full_like(np.load(shard), SEVENS))
        monkeypatch.setattr(launch, "running", forked_ranks.running)
        with two_nodes(tmp_path) as (nodes, _):
            stages = store_of(vlm, tmp_path, ranks=replace(whole, nodes=nodes)).stages(pool, FEATURES)
    expected = {**alone, AnswerLoss("answer"): np.where(finished, SEVENS, alone[AnswerLoss("answer")])}
    for feature, stage in stages.items():
        assert np.array_equal(np.load(stage.folder / "values.npy"), expected[feature]), feature
        assert stage.cost.device_seconds == pytest.approx(2 * stage.cost.seconds)
        assert not (stage.folder / "ranks").exists()


def test_a_pass_is_charged_the_devices_that_have_a_shard_of_it(folder: Path, tmp_path: Path) -> None:
    """Twelve rows are three shards of four; the one image that all of them show is one."""
    file, images = write_pool(tmp_path, rows=12)
    rows = json.loads(file.read_text())
    text = rows[0]["conversations"]
    file.write_text(json.dumps([{"id": row["id"], "image": rows[0]["image"], "conversations": text} for row in rows]))
    one = open_llava_json(str(file), str(images), "stop", tmp_path / "cache")
    vlm = llava.load(str(folder), device="cpu")
    alone, store = store_of(vlm, tmp_path), store_of(vlm, tmp_path, ranks=Ranks(3, {}))
    assert len(one) == 12 and len(one.images) == 1
    assert store._devices(one, [ImageStates(1)]) == 1
    assert store._devices(one, [ImageStates(1), TokenCount()]) == 3
    alone.stages(one, [TokenCount()])
    assert store._devices(one, [ImageStates(1), TokenCount()]) == 1, "what is there takes no pass"


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_order_in_which_ranks_finish_their_shares_changes_no_bit(
    folder: Path, pool: Pool, tmp_path: Path, ranks: int
) -> None:
    vlm, wanted = llava.load(str(folder), device="cpu"), {JointStates(2): tmp_path}
    one = Pass(pool, "conversation", wanted, Sizes(batch_size=4, shard=4, limit=512))
    todo = one.open_shards()
    for rank in reversed(range(ranks)):
        assert [*one.compute(vlm, todo[rank::ranks])] == todo[rank::ranks]
    join(tmp_path)
    expected = store_of(vlm, tmp_path / "alone").get(pool, [JointStates(2)])[JointStates(2)]
    assert np.array_equal(np.load(tmp_path / "values.npy"), expected)


def test_shards_of_any_number_of_blocks_have_the_same_bits(folder: Path, pool: Pool, tmp_path: Path) -> None:
    """A block is 16 batches, here 16 rows: files of one or two of them."""
    vlm = llava.load(str(folder), device="cpu")
    made = [
        store_of(vlm, tmp_path / str(shard), batch_size=1, shard=shard).get(pool, [JointStates(1), ImageStates(1)])
        for shard in (16, 32)
    ]
    for one, other in pairwise(made):
        assert all(np.array_equal(one[feature], other[feature]) for feature in one)
