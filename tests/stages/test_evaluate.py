"""Which devices an evaluation is charged, and what its log says."""

import logging
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from selectmm.stages import evaluate


@pytest.mark.parametrize(("engine", "charged"), [(None, 16), ("vllm", 8)])
def test_on_two_nodes_an_evaluation_is_charged_the_devices_that_answer(
    engine: str | None, charged: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM answers on the first node alone."""
    asked: list[int] = []
    monkeypatch.setattr(evaluate, "run_stage", lambda *_given, devices: asked.append(devices))
    monkeypatch.setattr(evaluate, "evaluation_identity", lambda *_given: {})
    nodes = SimpleNamespace(count=2)
    experiment = SimpleNamespace(suite=None, engine=engine, devices=16, nodes=nodes, cache=tmp_path)
    evaluate.evaluate_adapter(experiment, None, tmp_path, "tuned")
    assert asked == [charged]


def test_the_log_calls_benchmarks_by_the_names_that_the_tables_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = SimpleNamespace(folder=tmp_path, fingerprint="mark")
    score = SimpleNamespace(benchmark="mini-SQA", value=6.94)
    for name, given in {
        "evaluate_adapter": made,
        "read_scores": [score],
        "cost_of": {},
        "time_of": "(1 s)",
        "not_evaluated": [],
    }.items():
        monkeypatch.setattr(evaluate, name, lambda *_, given=given: given)
    tracker = SimpleNamespace(stage=lambda *_: nullcontext(SimpleNamespace(summary=lambda _: None)))
    with caplog.at_level(logging.INFO, "selectmm"):
        evaluate.evaluate_tuned(SimpleNamespace(suite=None, tracker=tracker, config={}), None, made)
    assert caplog.messages == ["  evaluate  mini-SQA 6.9 (1 s)"]
