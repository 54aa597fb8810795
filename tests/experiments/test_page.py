"""The performance page is made again from its records; every benchmark runs, shrunken, and prints its ratio.

Nothing is asserted on time: it depends on what else the machine does.
"""

import inspect
import json
import mmap
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from experiments.performance import (
    evaluation,
    gpu_step,
    gradients,
    mask,
    open_pool,
    prism,
    scalselect,
    shared_pass,
    sides,
    training,
    waiting,
)
from experiments.performance.page import ROOT, make
from experiments.performance.rows import Rows
from experiments.performance.sides import differs, keep
from selectmm.models import llava
from tests.tiny import tiny_llava, write_pool

from transformers import CLIPVisionConfig, LlamaConfig  # isort: skip  (only once selectmm has let torchvision import)


def test_the_committed_page_is_made_again(tmp_path: Path) -> None:
    assert make(tmp_path).read_bytes() == (ROOT / "results" / "tables" / "performance.md").read_bytes()


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "performance").glob("*.json")), ids=lambda path: path.stem)
def test_a_record_was_made_from_a_commit_and_knows_no_paths(path: Path) -> None:
    provenance = json.loads(path.read_text())["provenance"]
    assert provenance["commit"] and not provenance["dirty"]
    assert str(ROOT) not in path.read_text() and str(Path.home()) not in path.read_text()


def test_prism_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sides are measured as a user's are, in processes that a server forks; it imports no more than they need."""
    monkeypatch.setattr(sides, "PRELOADED", ("prism",))
    record = prism.main(["--rows", "700", "--width", "64", "--matrix-rows", "300", "--out", str(tmp_path)])
    assert_told(record, 4, capsys)
    assert list(tmp_path.iterdir()) == [record], "the features are deleted"


@pytest.mark.usefixtures("forked")
def test_scalselect_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_told(scalselect.main(["--rows", "700", "--width", "64", "--out", str(tmp_path)]), 2, capsys)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side is forked from the test's process, which has imported everything already."""
    monkeypatch.setattr(sides, "START", "fork")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side runs in the test's process: of these there are many, and they leave nothing behind."""

    def measure(work: sides.Work, *arguments: object) -> tuple[sides.Side, np.ndarray | None]:
        found: list[tuple[sides.Side, np.ndarray | None]] = []
        sides._child(SimpleNamespace(send=found.append), work, arguments)
        return found[0]

    for page in (shared_pass, gradients):
        monkeypatch.setattr(page, "measure", measure)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("performance")
    pool, _ = write_pool(folder, rows=16)
    model = tiny_llava(folder / "model")
    llava.load(str(model), dtype="float32", device="cpu")  # imports what every side then has
    place = ["--model", str(model), "--pool", str(pool), "--cache", str(folder / "cache"), "--out", str(folder / "out")]
    return ["--rows", "8", "--batch-size", "4", *place]


@pytest.mark.usefixtures("here")
def test_the_shared_pass_runs(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert_told(shared_pass.main(tiny), 5, capsys)


@pytest.mark.usefixtures("here")
def test_gradients_run(tiny: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "_give_back_freed_memory", lambda: None)  # it would stay so for all tests
    assert_told(gradients.main(tiny), 4, capsys)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak of a process cannot be set back")
@pytest.mark.usefixtures("forked")
def test_memory_that_preparing_needed_for_a_moment_hides_nothing() -> None:
    side, _ = sides.measure(_after_preparing)
    assert 60 < side.grown < 120, "the 64 MiB that the measured part takes"
    assert side.peak > side.grown + 250, "the process's peak is that of preparing"


def _after_preparing() -> Callable[[], np.ndarray]:
    _hold(300)

    def run() -> np.ndarray:
        _hold(64)
        return np.ones(1)

    return run


def _hold(megabytes: int) -> None:
    """Take so many MiB from the system and give them back; the heap of a process that ran other tests has free room."""
    with mmap.mmap(-1, megabytes * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as room:
        for _ in range(megabytes):
            room.write(b"1" * 2**20)


FREED = """
import ctypes, resource
from contextlib import suppress
from pathlib import Path

import numpy as np

MMAP_THRESHOLD = {threshold}
{function}

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

{call}
del (first := [np.ones(2**21)])[0]  # 16 MiB: malloc takes blocks up to this size from its heap once one was freed
blocks = [np.ones(2**17) for _ in range(64)]  # 64 MiB
before = resident()
del blocks[::2]
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's malloc is asked")
def test_freed_memory_is_given_back_at_once_where_that_is_asked_for() -> None:
    """In a process of its own, whose heap has no free room yet that blocks could come from."""
    asked = gradients._give_back_freed_memory
    parts = {"threshold": gradients.MMAP_THRESHOLD, "function": inspect.getsource(asked)}
    kept, returned = (
        float(subprocess.check_output([sys.executable, "-c", FREED.format(call=call, **parts)], text=True))
        for call in ("", f"{asked.__name__}()")
    )
    assert kept < 8 < 24 < returned, "MiB of 32 that lay between blocks which are still in use"


@pytest.mark.parametrize(("grown", "floors"), [(0.0, 1), (5.0, 2)])
def test_memory_that_did_not_grow_has_no_floor(tiny: list[str], grown: float, floors: int) -> None:
    side = sides.Side(1.0, 1.0, 900.0, grown)
    model, pool, cache = (tiny[tiny.index(f"--{name}") + 1] for name in ("model", "pool", "cache"))
    assert len(gradients.floors(Rows(8, cache, 4, model, pool), side, side)) == floors


@pytest.mark.usefixtures("forked")
def test_answering_runs_and_both_sides_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_llava(tmp_path / "model")
    place = ["--model", str(model), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert_told(evaluation.main(["--items", "2", "--rounds", "1", *place]), 1, capsys)


@pytest.mark.usefixtures("forked")
def test_training_runs_and_both_sides_compute_the_same(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    record = training.main([*tiny, "--rounds", "1"])
    assert_told(record, 5, capsys)
    *_, same_order = json.loads(record.read_text())["comparisons"]
    assert same_order["differs"] < 1e-5, "in the same order every step has the same loss"


def test_without_a_gpu_its_step_is_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_step.main(["--out", str(tmp_path)]) is None
    assert "not measured" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_step_of_a_tiny_model_is_measured_like_the_large_one(tmp_path: Path) -> None:
    body = LlamaConfig(vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    tower = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    vlm = gpu_step.random_llava(body, tower, torch.device("cpu"))
    recipe = replace(gpu_step.recipe_of("llava15_lora"), batch_size=4, micro_batch=2, rank=2, alpha=4, max_length=512)
    figures = gpu_step.measure(vlm, recipe, steps=3)
    assert (figures["rows of a step"], figures["tokens of a row"]) == (4, 512)
    assert figures["rows per second"] == pytest.approx(4 / figures["seconds of a step (median)"], rel=0.05)
    linear = 2 * (4 * 32 * 32 + 3 * 32 * 64)  # numbers in the linear layers of the language model
    assert figures["model FLOPs of a step"] > 2 * 2 * linear * 4 * 512  # once forward, once backward
    assert figures["share of peak"] == "unknown"


def test_the_large_model_has_the_published_sizes() -> None:
    vlm = gpu_step.random_llava(gpu_step.BODY, gpu_step.TOWER, torch.device("meta"))
    assert sum(weight.numel() for weight in vlm.model.parameters()) == 7_063_427_072  # of llava-hf/llava-1.5-7b-hf
    assert {weight.dtype for weight in vlm.model.parameters()} == {torch.bfloat16}
    assert gpu_step.recipe_of("llava15_lora").max_length == 2048


def test_the_page_shows_figures_that_are_held_against_nothing(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    keep("gpu_step", {}, [], tmp_path / "records", {"rows per second": 4.2})
    page = make(tmp_path, tmp_path / "records").read_text()
    assert "## gpu_step" in page and "- rows per second: 4.2" in page
    assert "**Not measured yet**: prism" in page and "Provisional" not in page


def test_the_page_says_that_an_older_record_states_no_floor(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    keep("training", {}, [], tmp_path / "records")
    page = make(tmp_path, tmp_path / "records").read_text()
    assert "No floor: this was measured before its script stated one; the next measurement has it." in page


@pytest.mark.usefixtures("forked")
def test_opening_a_pool_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = open_pool.main(["--rows", "1600", "--out", str(tmp_path)])
    assert_told(record, 7, capsys)
    assert list(tmp_path.iterdir()) == [record], "the pools are deleted"


def assert_told(record: Path, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Every ratio is printed and kept, and where both sides have numbers they are the same."""
    comparisons = json.loads(record.read_text())["comparisons"]
    assert len(comparisons) == count
    text = capsys.readouterr().out
    floors = json.loads(record.read_text())["floors"]
    assert floors and all(floor["least"] > 0 for floor in floors)
    assert {floor["of"].removeprefix("the N×N form of: ") for floor in floors} <= {made["what"] for made in comparisons}
    for made in comparisons:
        assert f"ratio {made['ratio']:.3g} in {made['of']}" in text
        assert made["differs"] is None or made["differs"] < 1e-3


def test_steps_with_and_without_a_mask_are_the_same_numbers() -> None:
    sizes = mask.Sizes(tokens=260, steps=1, width=32, layers=2)
    ours, theirs = (mask.steps(sizes, given)() for given in (mask.right_padded, mask.with_mask))
    assert differs(ours, theirs) < 1e-6


def test_the_share_of_time_that_a_model_waits_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads(waiting.main(["--rows", "24", "--loaders", "1", "--out", str(tmp_path)]).read_text())
    assert 0 <= record["figures"]["share of its time that the model waits"] <= 1
    assert [floor["of"] for floor in record["floors"]] == ["a picture, loaders alone"]
    assert "aim: at most 0.1: " in capsys.readouterr().out
