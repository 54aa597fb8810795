"""The whole line, pool to record, on tiny random models and a user's own data: LLaVA and Qwen2-VL alike."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from selectmm.door import build
from selectmm.records.record import RunRecord, load
from selectmm.run import run
from tests.tiny import tiny_llava, tiny_qwen2_vl, write_pool

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    tiny_llava(folder / "llava")
    tiny_qwen2_vl(folder / "qwen2_vl")
    write_pool(folder / "pool", rows=24)
    return folder


def overrides(place: Path, model: str, output: str) -> list[str]:
    """A run on own data with a tiny model: everything but the model's choice is the same for every family."""
    file, images = next((place / "pool").glob("*.json")), next(p for p in (place / "pool").iterdir() if p.is_dir())
    return [
        f"model={model}",
        f"model.path={place / model.removesuffix('_7b').replace('llava15', 'llava')}",
        "model.device=cpu",
        "model.dtype=float32",
        "pool=llava_json",
        f"pool.file={file}",
        f"pool.images={images}",
        "suite.limit=2",
        "suite.batch_size=2",
        "recipe.batch_size=4",
        "recipe.micro_batch=4",
        "recipe.rank=4",
        "recipe.max_length=2048",
        f"cache={place / output / 'cache'}",
        f"records={place / output / 'records'}",
        f"tracker.folder={place / output}",
    ]


def one_run(*arguments: str) -> RunRecord:
    os.environ["SELECTMM_ROOT"] = str(ROOT)
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("run", list(arguments))
    method = next((a.split("=")[1] for a in arguments if a.startswith("method=")), "prism")
    return load(run(build(config, method)))


@pytest.mark.parametrize("model", ["llava15_7b", "qwen2_vl_7b"])
def test_a_run_goes_from_pool_to_record_and_then_comes_from_the_cache(place: Path, model: str) -> None:
    arguments = overrides(place, model, model)
    first = one_run(*arguments, "budget=0.5")
    assert first.subset.rows == 12
    assert len(first.scores) == 11
    assert first.recipe.steps == 3
    assert first.config["recipe"]["lr"] == 5e-4
    assert not first.costs.finetune.cached and first.costs.tuning > 0
    assert first.subset.coverage["per_source"].keys() == first.pool.per_source.keys()
    again = one_run(*arguments, "budget=0.5")
    assert all(getattr(again.costs, stage).cached for stage in ("features", "select", "finetune", "evaluate"))
    assert again.costs.tuning == first.costs.tuning, "a cached stage keeps the cost it had"
    assert again.scores == first.scores
    assert again.name == first.name


def test_equal_steps_train_a_subset_as_long_as_the_pool_and_full_is_trained_once(place: Path) -> None:
    arguments = overrides(place, "llava15_7b", "steps")
    full = one_run(*arguments, "method=full")
    steps = one_run(*arguments, "method=full", "recipe.length=steps", "recipe.name=steps")
    assert full.recipe.steps == steps.recipe.steps == 6
    assert steps.costs.finetune.cached, "both lengths mean the same six steps for the full pool"
    subset = one_run(*arguments, "method=random", "budget=0.5", "recipe.length=steps", "recipe.name=steps")
    assert subset.recipe.steps == 6 and subset.subset.rows == 12


def test_a_sweep_from_the_command_line_ends_with_its_table(place: Path) -> None:
    command = [sys.executable, "-m", "selectmm", "-m", "method=full,random", "experiment=toy", "suite.limit=2"]
    done = subprocess.run(
        [*command, *overrides(place, "llava15_7b", "sweep")], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    records = sorted((place / "sweep" / "records").glob("toy-*.json"))
    assert [json.loads(path.read_text())["method"]["name"] for path in records] == ["full", "random"]
    for part in ("select", "finetune", "evaluate", "Rel.", "OSC", *(str(path.name) for path in records)):
        assert part in done.stdout


def test_a_wrong_word_ends_with_one_sentence_and_no_traceback(place: Path) -> None:
    command = [sys.executable, "-m", "selectmm", "pool=llava_json", "pool.file=none.json", "pool.images=."]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "There is no pool file none.json; set pool.file to a LLaVA JSON file." in done.stderr
    assert "Traceback" not in done.stderr
