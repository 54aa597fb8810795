"""The vLLM backend against a stub of vLLM's documented interface, and without vLLM (it has never run for real here)."""

import importlib.metadata
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from selectmm.errors import UserError
from selectmm.evaluation import vllm_backend
from selectmm.evaluation.decode import Reply
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.generate import Question
from selectmm.models.encode import Conversation, encode
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from tests.evaluation.material import image, suite
from tests.families import FAMILIES

CALLS: list = []


class LLM:
    """Answers "yes" to everything and notes what it was given."""

    def __init__(self, **options: object) -> None:
        CALLS.append(options)

    def generate(self, prompts: list, settings: object, use_tqdm: bool) -> list:
        CALLS.append((prompts, settings))
        return [SimpleNamespace(outputs=[SimpleNamespace(text="yes", finish_reason="length")]) for _ in prompts]


@dataclass
class SamplingParams:
    temperature: float
    max_tokens: int
    stop: list[str]
    stop_token_ids: list[int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def vlm(folder: Path) -> VLM:
    return FAMILIES["llava_vicuna"].load(folder)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(vllm_backend, "find_spec", lambda _name: module)
    monkeypatch.setattr(vllm_backend, "version", lambda _name: "0.0")
    CALLS.clear()


def test_without_vllm(vlm: VLM, folder: Path) -> None:
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm")
    with pytest.raises(UserError, match=r"vLLM is not installed; `pip install vllm` on a machine with a GPU"):
        vllm_backend.backend(folder, vlm)


@pytest.mark.usefixtures("stub")
def test_an_adapter_is_no_checkpoint_and_internvl_is_not_prepared_for(vlm: VLM, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs a whole checkpoint and .* is none; merge the adapter"):
        vllm_backend.backend(tmp_path, vlm)
    with pytest.raises(UserError, match="written for the LLaVA and Qwen-VL families"):
        vllm_backend.backend(folder, replace(vlm, family=replace(vlm.family, name="internvl3")))


@pytest.mark.usefixtures("stub")
def test_prompts_are_ours_with_one_placeholder_per_image(vlm: VLM, folder: Path) -> None:
    made = vllm_backend.backend(folder, vlm)
    picture = image(0, "red")
    replies = made.answer([Question("Red?", lambda: (picture,)), Question("Why?", tuple)], 5, ["\n"])
    assert replies == [Reply("yes", cut=True)] * 2
    options, (prompts, settings) = CALLS
    assert options == {"model": str(folder), "dtype": "float32", "seed": 0}
    end = vlm.processor.tokenizer.eos_token_id
    assert settings == SamplingParams(temperature=0, max_tokens=5, stop=["\n"], stop_token_ids=[end])
    for prompt, words, shown in zip(prompts, ("Red?", "Why?"), ((picture,), ()), strict=True):
        ours = encode(vlm, [Conversation((Turn("user", words),), shown)], side="left", limit=None)["input_ids"][0]
        kept = torch.ones_like(ours, dtype=torch.bool)
        kept[1:] = (ours[1:] != vlm.image_token_id) | (ours[:-1] != vlm.image_token_id)  # a run of image tokens is one
        assert prompt["prompt_token_ids"] == ours[kept].tolist()
    (squared,) = prompts[0]["multi_modal_data"]["image"]
    assert squared.size == (60, 60) and "multi_modal_data" not in prompts[1]


@pytest.mark.usefixtures("stub")
def test_a_score_says_who_answered(vlm: VLM, folder: Path, tmp_path: Path) -> None:
    evaluate(vlm, suite("pope"), tmp_path, 0, backend=vllm_backend.backend(folder, vlm))
    entry = json.loads((tmp_path / "mini-POPE.json").read_text())
    assert entry["generation"]["backend"] == "vllm 0.0"
    assert (entry["items"], entry["cut"], entry["empty"]) == (8, 8, 0)
