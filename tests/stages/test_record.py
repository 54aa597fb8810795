"""What a record says of how its run was asked for."""

from pathlib import Path

import pytest

from selectmm.records.files import load
from selectmm.stages.record import record_of
from tests.export import recorded


def test_a_record_names_its_target_examples_and_its_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load(recorded.recorded_run(tmp_path, "method=random", "curve=2"))
    assert (made.targets, made.evaluations) == (None, 2)
    monkeypatch.setattr(recorded, "record_of", lambda one, pool, *rest: record_of(one, pool, *rest, targets=pool))
    aimed = load(recorded.recorded_run(tmp_path, "method=random", "curve=2"))
    assert aimed.targets == aimed.pool.fingerprint and aimed.name != made.name
