"""Runs that are killed (SIGKILL) at any step, and on the way of writing, and started again, end as if left alone."""

import io
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from tests.tuning.conftest import SMALL, Bench
from tests.tuning.crowd import LIMIT, kill_before

WRITTEN = ("adapter_model.safetensors", "adapter_config.json", "train.json")
STEPS = 6

# In the order in which a run comes to them: what happens in the folder, to which path, and the SIGKILL comes before it.
MOMENTS = [
    ("open", "losses.jsonl"),  # after the first step, before it is told
    ("open", ".checkpoint-00000002/meta.json"),
    ("half", ".checkpoint-00000002/state.pt"),
    ("os.rename", ".checkpoint-00000002"),
    ("os.mkdir", ".checkpoint-00000004"),
    ("os.rename", ".checkpoint-00000004"),
    ("os.rename", ".adapter_model.safetensors"),
    ("os.rename", ".adapter_config.json."),
    ("os.rename", ".train.json."),
    ("os.remove", "state.pt"),  # the report is there, and the last checkpoint goes
]


@pytest.fixture(scope="module")
def whole(llava: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    folder = tmp_path_factory.mktemp("whole")
    llava.tune(folder)
    return folder


@pytest.mark.parametrize("step", [1, 2, 3, STEPS])  # before the first checkpoint, at it, after it, and at the end
def test_killed_at_any_step_it_ends_with_the_same_bits(llava: Bench, whole: Path, tmp_path: Path, step: int) -> None:
    killed(lambda: llava.tune(tmp_path, log=kill_at(step)))
    done = min(step, STEPS - 1) // SMALL.checkpoint_every * SMALL.checkpoint_every  # none is left for the last
    assert [file.name for file in tmp_path.glob("checkpoint-*")] == ([f"checkpoint-{done:08d}"] if done else [])
    llava.tune(tmp_path)
    assert_same_bits(tmp_path, whole)


def test_killed_in_the_middle_of_whatever_it_writes_it_ends_with_the_same_bits(
    llava: Bench, whole: Path, tmp_path: Path
) -> None:
    """One run, started again after each of `MOMENTS` and killed at the next."""
    for event, path in MOMENTS:
        killed(lambda event=event, path=path: (_kill_on_the_way(event, path), llava.tune(tmp_path)))
    llava.tune(tmp_path)
    assert_same_bits(tmp_path, whole)
    assert not [*tmp_path.glob("*checkpoint-*")]


def test_a_checkpoint_holds_what_is_trained_and_its_two_moments(llava: Bench, whole: Path, tmp_path: Path) -> None:
    killed(lambda: llava.tune(tmp_path, log=kill_at(3)))
    state = torch.load(tmp_path / "checkpoint-00000002" / "state.pt", weights_only=True)
    trained = json.loads((whole / "train.json").read_text())["trainable_parameters"]
    assert all(".lora_" in name or ".modules_to_save." in name for name in state["weights"])
    assert numbers_in(state["weights"]) == trained
    assert numbers_in(state["optimizer"]) == 2 * trained + len(state["weights"])  # AdamW counts steps by weight
    frozen = sum(weight.numel() for weight in llava.vlm.model.parameters())
    size = sum(file.stat().st_size for file in (tmp_path / "checkpoint-00000002").iterdir())
    assert 3 * 4 * trained < size < 4 * frozen  # bytes


def numbers_in(content: object) -> int:
    """How many numbers the tensors of a nested structure hold; a tensor that is there twice counts twice."""
    if isinstance(content, torch.Tensor):
        return content.numel()
    inside = content.values() if isinstance(content, Mapping) else content if isinstance(content, list | tuple) else ()
    return sum(map(numbers_in, inside))


def killed(work: Callable[[], object]) -> None:
    """Work in a process of its own that does not live to its end."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(LIMIT)
    assert child.exitcode == -signal.SIGKILL


def assert_same_bits(folder: Path, expected: Path) -> None:
    for name in WRITTEN:
        assert (folder / name).read_bytes() == (expected / name).read_bytes()
    assert losses(folder) == losses(expected)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "losses.jsonl").open()]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(step: int) -> Callable[[dict[str, float]], None]:
    return lambda entry: _die() if entry["step"] == step else None


def _kill_on_the_way(event: str, path: str) -> None:
    """As `kill_before`; ``half`` dies when half of a checkpoint's bytes are on the disk."""
    if event != "half":
        kill_before(event, path)
        return
    save = torch.save

    def save_half(content: object, file: Path) -> None:
        if path in str(file):
            buffer = io.BytesIO()
            save(content, buffer)
            file.write_bytes(buffer.getvalue()[: buffer.tell() // 2])
            _die()

    torch.save = save_half
