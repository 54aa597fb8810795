"""The same recipe over several processes."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from selectmm.errors import UserError
from selectmm.tuning.recipe import Strategy
from tests.tuning.conftest import RECIPE, Bench


@pytest.mark.parametrize(
    ("family", "strategy"),
    [
        ("llava", Strategy("ddp", 2)),
        ("llava", Strategy("zero2", 2)),
        ("qwen", Strategy("zero2", 2)),
        ("llava", Strategy("zero3", 2)),
    ],
)
def test_every_strategy_learns_what_a_single_device_learns(
    family: str, strategy: Strategy, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Accumulation, clipping, dropout and a mixed last batch included; what differs is the order of summing floats.

    One of the runs is killed on the way and started again: a DeepSpeed checkpoint is a folder of shards.
    """
    bench: Bench = request.getfixturevalue(family)
    alone = bench.tune(tmp_path / "alone")
    if (family, strategy.kind) == ("llava", "zero2"):
        kill_at_step_3(bench, tmp_path / "spread", strategy)
    bench.tune(tmp_path / "spread", strategy=strategy)
    spread = [json.loads(line)["loss"] for line in (tmp_path / "spread" / "losses.jsonl").open()]
    assert spread == pytest.approx(alone, abs=1e-4)
    assert spread[-1] < spread[0]
    names = {file.name for file in (tmp_path / "alone").iterdir()}
    assert {file.name for file in (tmp_path / "spread").iterdir()} == names
    weights = load_file(tmp_path / "spread" / "adapter_model.safetensors")
    for name, weight in load_file(tmp_path / "alone" / "adapter_model.safetensors").items():
        np.testing.assert_allclose(weights[name].numpy(), weight.numpy(), atol=1e-4)
    config = json.loads((tmp_path / "spread" / "adapter_config.json").read_text())
    assert config == json.loads((tmp_path / "alone" / "adapter_config.json").read_text())
    report = json.loads((tmp_path / "spread" / "train.json").read_text())
    expected = json.loads((tmp_path / "alone" / "train.json").read_text())
    assert report == expected | {"strategy": strategy.kind, "world_size": 2}


def kill_at_step_3(bench: Bench, folder: Path, strategy: Strategy) -> None:
    """Start a run and interrupt it after its first checkpoint."""

    def stop(entry: dict[str, float]) -> None:
        if entry["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.tune(folder, strategy=strategy, log=stop)
    assert list(folder.glob("checkpoint-*"))


def test_a_failing_worker_is_explained(llava: Bench, tmp_path: Path) -> None:
    broken = Bench(llava.vlm, llava.build | {"path": str(tmp_path / "nowhere")}, llava.pool)
    with pytest.raises(UserError, match="No LlavaForConditionalGeneration checkpoint"):
        broken.tune(tmp_path / "out", RECIPE, Strategy("ddp", 1))
