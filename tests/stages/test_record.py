"""What a record says of how its run was asked for."""

import json
import logging
from importlib.metadata import version
from pathlib import Path

import pytest

from selectmm.cache import stage
from selectmm.cache.provenance import COMPUTING
from selectmm.cache.stage import run_stage
from selectmm.features.tokens import TokenCount
from selectmm.records.files import load
from selectmm.stages import record as stage_of_record
from selectmm.stages.record import other_versions, record_of
from tests.export import recorded


def test_a_record_names_its_target_examples_and_its_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load(recorded.recorded_run(tmp_path, "method=random", "curve=2"))
    assert (made.targets, made.evaluations) == (None, 2)
    monkeypatch.setattr(recorded, "record_of", lambda one, pool, *rest: record_of(one, pool, *rest, targets=pool))
    aimed = load(recorded.recorded_run(tmp_path, "method=random", "curve=2"))
    assert aimed.targets == aimed.pool.fingerprint and aimed.name != made.name


def test_a_training_whose_only_step_has_no_rate_is_warned_of_and_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a pass each over 4 of 8 rows, in batches of 2."""
    with caplog.at_level(logging.WARNING, "selectmm"):
        made = load(recorded.recorded_run(tmp_path, "method=grand", "method.warmup.epochs=0.5", "recipe.epochs=0.5"))
    said = [
        f"The {what} has 1 step, at a rate of 0 by recipe.warmup=0.03, and learns nothing. Set recipe.warmup=0, lower "
        "recipe.batch_size=2, or train on more rows."
        for what in ("fine-tuning", "warm-up of the method")
    ]
    assert [text for text in made.deviations if "learns nothing" in text] == said
    warned = [text.strip() for text in caplog.messages if "learns nothing" in text]
    assert sorted(warned) == sorted(said)
    longer = load(recorded.recorded_run(tmp_path, "method=random"))
    assert longer.recipe.steps == 2 and not any("learns nothing" in text for text in longer.deviations)


def test_a_record_holds_the_code_that_chose_with_what_it_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def code(*words: str) -> str:
        return load(recorded.recorded_run(tmp_path, *words)).code

    random, length = code("method=random"), code("method=length")
    assert code("method=random") == random != length
    known = stage_of_record.source_of
    monkeypatch.setattr(stage_of_record, "source_of", lambda one: known(one) + "!" * isinstance(one, TokenCount))
    assert code("method=random") == random and code("method=length") != length, "length reads the feature"


def test_what_other_versions_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run over a cache that an older environment filled names today's versions in its provenance."""
    with monkeypatch.context() as before:
        before.setattr(stage, "version_of", lambda package: {"wandb": "0.1", "peft": "0.17.1"}.get(package, "2.0"))
        for name in ("features", "finetune"):
            run_stage(tmp_path, name, {"a": 1}, lambda _folder: None)
    again = [run_stage(tmp_path, name, {"a": 1}, lambda _folder: None) for name in ("features", "finetune", "evaluate")]
    assert [one.cached for one in again] == [True, True, False]
    said = other_versions(again)
    assert f"From the cache, made with peft 0.17.1 (this run has {version('peft')}): features, finetune." in said
    assert len(said) == len(COMPUTING), "all but those that compute nothing"
    assert other_versions(again[2:]) == []
    entry = again[0].folder / stage.ENTRY
    entry.write_text(json.dumps({k: v for k, v in json.loads(entry.read_text()).items() if k != "packages"}))
    assert other_versions([run_stage(tmp_path, "features", {"a": 1}, lambda _folder: None)]) == [], "nothing is known"
