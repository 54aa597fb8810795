"""Jobs of a sweep that read the same model and pool pass over it once, and each is charged for what it needs."""

import itertools
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from selectmm.errors import UserError
from selectmm.features import gradients as gradients_module
from selectmm.features.answers import AnswerError, AnswerLoss
from selectmm.features.feature import Seen
from selectmm.features.gradients import GradientNorm, ProjectedGradient
from selectmm.features.ranks import feature_of
from selectmm.features.reading import conversations_of
from selectmm.features.shares import Shares, share_of
from selectmm.features.states import ImageStates
from selectmm.features.tokens import TokenCount
from selectmm.models.encode import encode
from selectmm.models.forward import Reads, run
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.records.stage import fingerprint
from selectmm.stages import sweep
from selectmm.stages.sweep import SWEEP, log_jobs, others_of, place_of, told
from selectmm.tuning.adapter import injected, lora_config
from tests.features.material import store_of
from tests.features.test_passes import Forwards, forwards  # noqa: F401  (a fixture)
from tests.test_line import ROOT, overrides
from tests.tuning.conftest import RECIPE

IMAGE = ImageStates(1)


@dataclass(frozen=True)
class Broken:
    """Fails wherever it is computed."""

    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        return Reads(answers=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        raise UserError("It is broken.")


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
    assert not list(tmp_path.rglob("took-*"))


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


def test_a_feature_that_fails_takes_no_other_job_down(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    store = store_of(vlm, tmp_path)
    assert set(store.stages(pool, [IMAGE], [Broken()])) == {IMAGE}
    with pytest.raises(UserError, match=r"It is broken\."):
        store.stages(pool, [Broken()], [IMAGE])


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


def test_a_feature_is_charged_for_the_layers_that_it_reads(
    vlm: VLM, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, ticks = AnswerLoss("conversation"), itertools.count()
    monkeypatch.setattr(Shares, "now", lambda _self: next(ticks))
    shares = Shares(vlm, [IMAGE, loss, TokenCount()])
    batch = encode(vlm, list(conversations_of(pool, "conversation", [0])), side="right", limit=None)
    with shares.passing():
        run(vlm, batch, IMAGE.reads() | loss.reads())
    assert shares.alone == {IMAGE: 1, loss: 2} and shares.everything == 2, "a tick at the start, at layer 1, at the end"


def test_a_share_is_of_all_that_was_noted(vlm: VLM, tmp_path: Path) -> None:
    shares = Shares(vlm, [IMAGE, TokenCount()])
    shares.waited(1.0)
    shares.took(IMAGE, 2.0)
    shares.took(TokenCount(), 5.0)
    for start in (0, 8):
        shares.save(tmp_path, IMAGE, range(start, start + 8))
    assert share_of(tmp_path) == pytest.approx((1 + 2) / 8)
    assert share_of(tmp_path) == 1.0, "nothing is left to read"


def test_jobs_are_told_what_their_sweep_reads(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from selectmm.command_line.jobs import read_jobs
    from selectmm.instantiate import build

    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.setenv(SWEEP, "")
    words = [*overrides(place, "llava15_7b", "told"), "method=random,length,prism,el2n,grand,tive", "seed=0,1"]
    jobs = read_jobs(words, multirun=True)
    built = {(method, config.seed): build(config, method) for config, method in jobs}
    assert others_of(built["prism", 0]) == []
    log_jobs(jobs)
    assert set(others_of(built["prism", 1])) == {ImageStates(1), AnswerError()}
    assert others_of(built["random", 0]) == others_of(built["el2n", 1]), "whoever needs nothing starts no pass"
    assert set(others_of(built["grand", 0])) == {GradientNorm(), ProjectedGradient(8192)}
    assert place_of(built["grand", 0]) != place_of(built["tive", 1]), "another seed is another warm-up"
    assert len(told()) == 3


def test_what_thousands_of_jobs_are_told_fits_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux starts no process with a variable of 128 KiB; every seed of a warm-up is read of something else."""
    monkeypatch.setenv(SWEEP, "")
    read = [GradientNorm(), ProjectedGradient(8192)]
    places = {fingerprint({"seed": number}): read for number in range(2000)}
    monkeypatch.setattr(sweep, "union_of", lambda _experiments: places)
    log_jobs([])
    assert {place: [feature_of(one) for one in those] for place, those in told().items()} == places
    assert subprocess.run(["true"]).returncode == 0
