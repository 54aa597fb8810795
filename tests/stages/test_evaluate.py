"""Which devices an evaluation is charged."""

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
