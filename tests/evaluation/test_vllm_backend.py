"""The protocol between a run and vLLM's process, with a package in vLLM's place that answers by rule.

The real vLLM is not installed here; `results/tables/engine.md` is what it answered.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from selectmm.errors import UserError
from selectmm.evaluation import engine as module
from selectmm.evaluation.decode import Reply, Until
from selectmm.evaluation.engine import Engine
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.generate import Question
from selectmm.evaluation.vllm_backend import check_served, serving
from selectmm.models.encode import Conversation, encode
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from tests.evaluation.material import image, suite
from tests.families import FAMILIES

# Generates the prompt's last tokens, the last one first. $FAKE says what goes wrong; seen-*.jsonl what it was given.
FAKE = """
import json, os, sys, time
from types import SimpleNamespace as Made

__version__ = "0.0"
WRONG = os.environ.get("FAKE", "")
if WRONG == "absent":
    raise ImportError("No module named 'cpuinfo'")


class ModelRegistry:
    @staticmethod
    def get_supported_archs():
        return [] if WRONG == "family" else ["LlavaForConditionalGeneration"]


class SamplingParams:
    def __init__(self, **options):
        self.__dict__.update(options)


class LLM:
    def __init__(self, **options):
        print("vLLM is loading")  # as the real one, on the stream that our lines would go to
        self.note(options)
        if WRONG == "window":
            raise ValueError("max_model_len (9) is greater than the derived max_model_len")

    def note(self, content):
        with open(os.path.join(os.path.dirname(__file__), f"seen-{os.getpid()}.jsonl"), "a") as file:
            file.write(json.dumps(content) + "\\n")

    def reset_prefix_cache(self):
        pass

    def generate(self, prompts, settings, use_tqdm):
        if WRONG == "die":
            sys.exit("out of luck")
        if WRONG == "killed":
            os.kill(os.getpid(), 9)
        if WRONG == "long":
            raise ValueError("The decoder prompt (length 12) is longer than the maximum model length of 9.")
        made = []
        for prompt, wanted in zip(prompts, settings):
            tokens = prompt["prompt_token_ids"]
            images = [[i.size, i.mode, i.getpixel((0, 0))] for i in prompt.get("multi_modal_data", {}).get("image", [])]
            self.note({"tokens": tokens, "images": images, **wanted.__dict__})
            cap = wanted.max_tokens - (WRONG == "short")
            said = Made(token_ids=tokens[::-1][:cap], finish_reason="length" if len(tokens) >= cap else "stop")
            known = [{token: Made(logprob=-token / 100, rank=1 + token % 2)} for token in tokens]
            made.append(Made(outputs=[said], prompt_logprobs=known, prompt_token_ids=tokens))
        return made
"""
PLATFORMS = "from types import SimpleNamespace\ncurrent_platform = SimpleNamespace(is_cpu=lambda: True)\n"
ENGINE = Engine(python=None, window=None, memory=0.9, block=2, batch_invariant=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def vlm(folder: Path) -> VLM:
    return FAMILIES["llava_vicuna"].load(folder)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package named vllm, where the process finds it."""
    package = tmp_path / "packages" / "vllm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE)
    (package / "platforms.py").write_text(PLATFORMS)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    return package


def seen(fake: Path) -> list[dict]:
    """What the engines were given, process by process."""
    return [json.loads(line) for file in sorted(fake.glob("seen-*")) for line in file.read_text().splitlines()]


def asked(words: str, *images: Image.Image) -> Question:
    return Question(words, lambda: images)


def test_prompts_are_ours_with_one_placeholder_per_image_and_texts_are_the_tokenizers(
    vlm: VLM, folder: Path, fake: Path, tmp_path: Path
) -> None:
    with serving(replace(ENGINE, window=99), vlm, folder, 1, tmp_path) as backend:
        replies = backend.answer([asked("Red?", image(0, "red")), asked("Why?")], 5, ["\n"])
        assert (backend.name, backend.size, backend.batch_invariant) == ("vllm 0.0", 8, False)
    options, *given = seen(fake)
    assert options == {
        "model": str(folder), "dtype": "float32", "seed": 0,
        "gpu_memory_utilization": 0.9, "enforce_eager": True, "max_model_len": 99,
    }  # fmt: skip
    end = vlm.processor.tokenizer.eos_token_id
    for one, words, shown, reply in zip(given, ("Red?", "Why?"), ((image(0, "red"),), ()), replies, strict=True):
        ours = encode(vlm, [Conversation((Turn("user", words),), shown)], side="left", limit=None)["input_ids"][0]
        kept = torch.ones_like(ours, dtype=torch.bool)
        kept[1:] = (ours[1:] != vlm.image_token_id) | (ours[:-1] != vlm.image_token_id)  # a run of image tokens is one
        assert one["tokens"] == ours[kept].tolist()
        assert (one["temperature"], one["max_tokens"], one["stop"], one["stop_token_ids"]) == (0, 5, ["\n"], [end])
        assert reply == Reply(vlm.processor.tokenizer.decode(one["tokens"][::-1][:5]), cut=True)
    mean = [int(255 * channel) for channel in vlm.processor.image_processor.image_mean]
    assert [one["images"] for one in given] == [[[[60, 60], "RGB", mean]], []]  # squared, as the family wants it
    assert not list(tmp_path.glob("images-*"))


@pytest.mark.usefixtures("fake")
def test_several_images_are_not_asked_of_a_model_that_sees_them_whole(vlm: VLM, folder: Path, tmp_path: Path) -> None:
    onevision = replace(vlm, family=replace(vlm.family, name="llava_onevision", tiles_alone=True))
    told = (
        r"shows several images at once, which vLLM would cut into tiles; this model \(llava_onevision\) sees them whole"
    )
    with serving(ENGINE, onevision, folder, 1, tmp_path) as backend:
        assert len(backend.answer([asked("Red?", image(0, "red"))], 5, [])) == 1
        with pytest.raises(UserError, match=told):
            backend.answer([asked("Same?", image(0, "red"), image(1, "red"))], 5, [])


@pytest.mark.usefixtures("fake")
def test_blocks_go_to_the_processes_in_turn_and_come_back_in_order(vlm: VLM, folder: Path, tmp_path: Path) -> None:
    contexts = [[7, 8, number] for number in range(10, 17)]
    with serving(ENGINE, vlm, folder, 2, tmp_path) as backend:
        found = backend.complete(contexts, Until(1, [], frozenset()))
        assert found == [Reply(vlm.processor.tokenizer.decode([number]), cut=True) for number in range(10, 17)]
        assert backend.complete([], Until(1, [], frozenset())) == []
        scores = backend.score([([5], [10, 20]), ([5, 6], [11])])
    assert [value for value, _ in scores] == pytest.approx([-0.30, -0.11])
    assert [greedy for _, greedy in scores] == [True, False]
    assert len(list(tmp_path.glob("vllm-*.log"))) == 2
    assert "vLLM is loading" in (tmp_path / "vllm-0.log").read_text()


@pytest.mark.usefixtures("fake")
def test_a_score_says_who_answered_and_text_benchmarks_are_asked_too(vlm: VLM, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "engine"
    place.mkdir()
    with serving(ENGINE, vlm, folder, 1, place) as backend:
        evaluate(vlm, suite("pope", "hellaswag", "mmlu_pro"), tmp_path, 0, backend=backend)
    for name in ("mini-POPE", "mini-HellaSwag", "mini-MMLU-Pro"):
        entry = json.loads((tmp_path / f"{name}.json").read_text())
        assert (entry["generation"]["backend"], entry["generation"]["batch_size"]) == ("vllm 0.0", 8)
        assert entry["batching"] == {"invariant": False, "sampled": 8, "changed": 0}


FAILURES = {
    "absent": r"There is no vLLM in the environment of .*python.* \(No module named 'cpuinfo'\); install it there, set",
    "family": r"vLLM cannot serve this model \(vLLM 0\.0 has no LlavaForConditionalGeneration\); evaluate it without",
    "window": r"do not fit into vLLM's window \(max_model_len \(9\) is greater.*\); raise engine\.window",
    "long": r"do not fit into vLLM's window \(The decoder prompt \(length 12\) is longer than .* of 9\.\); raise",
    "short": r"do not fit into vLLM's window \(a prompt of 2 tokens leaves 0 of 1\); raise engine\.window",
    "die": r"The vLLM process 0 ended with code 1; its last lines \(all in .*vllm-0\.log\):\n(.*\n)*out of luck",
    "killed": r"The vLLM process 0 was killed from outside, as Linux does when main memory runs out; free some memory",
}


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("wrong", FAILURES)
def test_what_goes_wrong_is_one_sentence(
    vlm: VLM, folder: Path, tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE", wrong)
    started = []
    start = module._start
    monkeypatch.setattr(module, "_start", lambda *given: started.append(start(*given)) or started[-1])
    with pytest.raises(UserError, match=FAILURES[wrong]), serving(ENGINE, vlm, folder, 1, tmp_path) as backend:
        backend.complete([[7, 8]] * 5, Until(1, [], frozenset()))
    assert started[0].returncode is not None  # no process is left behind


def test_an_environment_without_vllm_or_without_python(vlm: VLM, folder: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(
            UserError, match=r"There is no vLLM in the environment of .* set engine\.python to the interpreter"
        ),
        serving(replace(ENGINE, python=sys.executable), vlm, folder, 1, tmp_path),
    ):
        pass
    with (
        pytest.raises(UserError, match=r"engine\.python=/no/python cannot be started \(No such file or directory\)"),
        serving(replace(ENGINE, python="/no/python"), vlm, folder, 1, tmp_path),
    ):
        pass


def test_options_and_models_that_cannot_be(vlm: VLM) -> None:
    with pytest.raises(UserError, match=r"engine.memory=1.5 is not a share of a GPU's memory, above 0 and at most 1"):
        replace(ENGINE, memory=1.5)
    for name in ("window", "block"):
        with pytest.raises(UserError, match=rf"engine.{name}=0: give a whole number above 0"):
            replace(ENGINE, **{name: 0})
    check_served(vlm)

    class Own(torch.nn.Module):
        """A part that vLLM does not know."""

    Own.__module__ = "selectmm.quickstart.tower"
    vlm.model.own = Own()
    try:
        with pytest.raises(UserError, match=r"part of it \(selectmm\.quickstart\.tower\) is this project's own"):
            check_served(vlm)
    finally:
        del vlm.model.own
