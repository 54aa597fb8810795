"""Jobs of a sweep that read the same model and pool pass over it once, and each is charged for what it needs."""

import itertools
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from selectmm.cache.cost import Clock, Cost
from selectmm.cache.stage import fingerprint
from selectmm.errors import UserError
from selectmm.features import gradients as gradients_module
from selectmm.features.answers import AnswerError, AnswerLoss
from selectmm.features.feature import Seen, View
from selectmm.features.gradients import GradientNorm, ProjectedGradient
from selectmm.features.ranks import feature_of
from selectmm.features.reading import conversations_of
from selectmm.features.shares import SECONDS, Shares, noted_share_is_whole, share_of, sum_up, times_alone
from selectmm.features.states import ImageStates
from selectmm.features.store import passes, values_of
from selectmm.features.tokens import TokenCount
from selectmm.models.encode import encode
from selectmm.models.forward import Reads, run
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.stages import sweep
from selectmm.stages.sweep import SWEEP, features_of_sweep, log_jobs, others_of, place_of
from selectmm.tuning.adapter import injected, lora_config
from tests.features.material import store_of
from tests.features.test_passes import Forwards, forwards  # noqa: F401  (a fixture)
from tests.test_line import ROOT, overrides
from tests.tuning.conftest import RECIPE

IMAGE = ImageStates(1)
# What is shared and charged does not depend on the model that passes.
ONE = pytest.mark.parametrize("vlm", ["llava"], indirect=True)


@dataclass(frozen=True)
class Broken:
    """Fails wherever it is computed."""

    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        return Reads(answers=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        raise UserError("It is broken.")


CLOCK = [0.0]


@dataclass(frozen=True)
class Takes:
    """Puts `CLOCK` on by so many seconds for a batch."""

    seconds: float
    name: str
    view: View = "conversation"
    vector: ClassVar[bool] = False

    def reads(self) -> Reads:
        return Reads(answers=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        CLOCK[0] += self.seconds
        return torch.zeros(len(seen))


@ONE
def test_what_other_jobs_will_ask_for_rides_on_the_first_pass(
    vlm: VLM,
    pool: Pool,
    tmp_path: Path,
    forwards: Forwards,  # noqa: F811
) -> None:
    loss, error = AnswerLoss("conversation"), AnswerError()
    alone = store_of(vlm, tmp_path / "alone").get(pool, [IMAGE, loss, error])
    once = len(forwards)
    forwards.clear()
    store = store_of(vlm, tmp_path / "sweep")
    first = store.stages(pool, [IMAGE], [IMAGE, loss, error])
    assert set(first) == {IMAGE} and not first[IMAGE].cached and len(forwards) == once
    rest = store.stages(pool, [loss, error], [IMAGE, loss, error])
    assert all(stage.cached for stage in rest.values()) and len(forwards) == once, "nothing passes again"
    for feature, values in store.get(pool, [IMAGE, loss, error]).items():
        np.testing.assert_array_equal(values, alone[feature])
    assert not list(tmp_path.rglob("seconds-*"))


@ONE
def test_lengths_take_no_pass_and_what_is_there_starts_none(
    vlm: VLM,
    pool: Pool,
    tmp_path: Path,
    forwards: Forwards,  # noqa: F811
) -> None:
    store, loss = store_of(vlm, tmp_path), AnswerLoss("conversation")
    store.stages(pool, [TokenCount()], [loss])
    assert not forwards
    store.stages(pool, [IMAGE])
    forwards.clear()
    store.stages(pool, [IMAGE], [IMAGE, loss])
    assert not forwards


@ONE
def test_a_feature_that_fails_takes_no_other_job_down(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    store = store_of(vlm, tmp_path)
    assert set(store.stages(pool, [IMAGE], [Broken()])) == {IMAGE}
    with pytest.raises(UserError, match=r"It is broken\."):
        store.stages(pool, [Broken()], [IMAGE])


@ONE
def test_norms_are_read_beside_projected_gradients(
    vlm: VLM, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm, projected, passed = GradientNorm(), ProjectedGradient(16), []
    real = gradients_module.row_gradients
    monkeypatch.setattr(gradients_module, "row_gradients", lambda *given: (passed.append(1), real(*given)))
    with injected(vlm, lora_config(vlm, RECIPE)) as wrapped:
        wrapped.eval().requires_grad_(False)
        alone = store_of(vlm, tmp_path / "alone").get(pool, [norm])[norm]
        once = len(passed)
        shared = store_of(vlm, tmp_path / "sweep")
        shared.stages(pool, [norm], [projected])
        assert len(passed) == 2 * once, "as many passes for both as for one"
        np.testing.assert_array_equal(shared.get(pool, [norm])[norm], alone)
        np.testing.assert_array_equal(shared.get(pool, [projected])[projected][:, 0], alone)


@ONE
def test_norms_are_copied_of_projected_gradients_that_are_in_the_cache(
    vlm: VLM, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost what the gradients cost, of which they are the first column, and both together no more."""
    norm, projected, passed = GradientNorm(), ProjectedGradient(16), []
    real = gradients_module.row_gradients
    monkeypatch.setattr(gradients_module, "row_gradients", lambda *given: (passed.append(1), real(*given)))
    with injected(vlm, lora_config(vlm, RECIPE)) as wrapped:
        wrapped.eval().requires_grad_(False)
        store = store_of(vlm, tmp_path)
        gradients = store.stages(pool, [projected])[projected]
        once = len(passed)
        norms = store.stages(pool, [norm])[norm]
        assert len(passed) == once, "no further pass"
        assert (norms.fingerprint != gradients.fingerprint, norms.cost) == (True, gradients.cost)
        np.testing.assert_array_equal(
            values_of({norm: norms})[norm], values_of({projected: gradients})[projected][:, 0]
        )
        assert [stage.cost for stage in passes([norms, gradients])] == [gradients.cost]
        store.stages(pool, [GradientNorm("all_linear")])
        assert len(passed) > once, "those of other weights are no column of them"


@ONE
def test_a_feature_is_charged_for_the_layers_that_it_reads(
    vlm: VLM, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, ticks = AnswerLoss("conversation"), itertools.count()
    monkeypatch.setattr(Shares, "now", lambda _self: next(ticks))
    shares = Shares(vlm, [IMAGE, loss, TokenCount()], "conversation")
    batch = encode(vlm, list(conversations_of(pool, "conversation", [0])), side="right", limit=None)
    with shares.passing():
        run(vlm, batch, IMAGE.reads() | loss.reads())
    passing = "passing conversation"
    assert shares.alone == {IMAGE: {passing: 1}, loss: {passing: 2}}, "a tick at the start, at layer 1, at the end"


@ONE
def test_a_share_is_of_all_that_was_noted(vlm: VLM, tmp_path: Path) -> None:
    shares = Shares(vlm, [IMAGE, TokenCount()], "conversation")
    shares.waited(1.0)
    shares.took(IMAGE, 2.0)
    shares.took(TokenCount(), 5.0)
    folders = {feature: tmp_path / type(feature).__name__ for feature in shares.features}
    for feature, folder in folders.items():
        folder.mkdir()
        for start in (0, 8):
            shares.save(folder, feature, range(start, start + 8))
    for _ in range(2):  # again after a kill before the stages were finished
        sum_up(folders.values())
        assert share_of(folders[IMAGE]) == pytest.approx((1 + 2) / 8)
        assert times_alone(folders[IMAGE], folders.values()) == pytest.approx(8 / 3)
        assert [path.name for path in folders[IMAGE].iterdir()] == [SECONDS]
    assert noted_share_is_whole(folders[IMAGE]) == share_of(folders[IMAGE]) == 1.0, "nothing is left to read"
    assert times_alone(folders[IMAGE], folders.values()) == 1.0


@ONE
def test_a_method_is_charged_for_all_features_that_it_needs(
    vlm: VLM, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sweep that took 100 s, whatever view they have: 1/5 for each of three features, 2/5 for the last one."""
    monkeypatch.setattr(Shares, "now", lambda _self: CLOCK[0])
    monkeypatch.setattr(Shares, "waited", lambda _self, _seconds: None)
    monkeypatch.setattr(Clock, "cost", lambda _self: Cost(100.0, 100.0))
    one, two, answers, last = Takes(8.0, "1"), Takes(8.0, "2"), Takes(8.0, "3", "answer"), Takes(16.0, "4")
    store = store_of(vlm, tmp_path)
    store.stages(pool, [one], [one, two, answers, last])

    def charged(*needed: Takes) -> float:
        [stage] = passes(list(store.stages(pool, needed).values()))
        return stage.cost.device_seconds

    assert [charged(feature) for feature in (one, two, answers, last)] == pytest.approx([20, 20, 20, 40])
    assert [charged(one, two), charged(one, answers), charged(two, last)] == pytest.approx([40, 40, 60])
    assert charged(one, two, answers, last) == pytest.approx(100)


def test_what_methods_have_in_common_is_charged_once(tmp_path: Path) -> None:
    """Reading and the forward pass per view, as far as the deepest of them."""
    notes = [
        {"reading conversation": 1.0, "passing conversation": 2.0, "shallow": 4.0},
        {"reading conversation": 1.0, "passing conversation": 8.0, "deep": 16.0},
        {"reading answer": 32.0, "passing answer": 64.0},
    ]
    folders = [tmp_path / str(number) for number in range(len(notes))]
    for folder, note in zip(folders, notes, strict=True):
        folder.mkdir()
        (folder / "seconds-000000000-000000008.json").write_text(json.dumps(note))
    sum_up(folders)
    everything = 1 + 8 + 4 + 16 + 32 + 64
    assert [share_of(folder) * everything for folder in folders] == pytest.approx([7, 25, 96])
    assert times_alone(folders[1], folders[:2]) * 25 == pytest.approx(1 + 8 + 4 + 16)
    assert times_alone(folders[0], folders) * share_of(folders[0]) == pytest.approx(1)


def test_jobs_are_told_what_their_sweep_reads(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from selectmm.command_line.jobs import read_jobs
    from selectmm.instantiate import build

    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.setenv(SWEEP, "")
    words = [*overrides(place, "llava15_7b", "read"), "method=random,length,prism,el2n,grand,tive"]
    jobs = read_jobs(words, multirun=True)
    jobs += [(OmegaConf.merge(config, {"seed": 1}), name) for config, name in jobs if name in ("prism", "tive")]
    built = {(method, config.seed): build(config, method) for config, method in jobs}
    assert others_of(built["prism", 0]) == []
    log_jobs(jobs)
    assert set(others_of(built["prism", 1])) == {ImageStates(1), AnswerError()}
    assert others_of(built["random", 0]) == others_of(built["el2n", 0]), "whoever needs nothing starts no pass"
    assert set(others_of(built["grand", 0])) == {GradientNorm(), ProjectedGradient(8192)}
    assert place_of(built["grand", 0]) != place_of(built["tive", 1]), "another seed is another warm-up"
    assert len(features_of_sweep()) == 3


def test_what_thousands_of_jobs_are_told_fits_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux starts no process with a variable of 128 KiB; every seed of a warm-up is read of something else."""
    monkeypatch.setenv(SWEEP, "")
    read = [GradientNorm(), ProjectedGradient(8192)]
    places = {fingerprint({"seed": number}): read for number in range(2000)}
    monkeypatch.setattr(sweep, "union_of", lambda _experiments: places)
    log_jobs([])
    assert {place: [feature_of(one) for one in those] for place, those in features_of_sweep().items()} == places
    assert subprocess.run(["true"]).returncode == 0
