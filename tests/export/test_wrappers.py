"""lmms-eval's own wrappers load an exported folder and answer as our evaluation does.

Four of the five import decord, which reads videos and is not installed with lmms-eval; nothing here shows a video, so
an empty module stands in for it.
"""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from selectmm.evaluation.generate import Question, generate
from selectmm.export.card import Origin
from selectmm.export.model import export_model
from selectmm.models import qwen2_vl
from selectmm.tuning.adapter import load_adapter
from tests.export.conftest import batch_of
from tests.tuning.conftest import Bench

from lmms_eval.api.instance import Instance  # isort: skip
from lmms_eval.api.model import lmms  # isort: skip

WRAPPERS = {
    "llava": ("simple.llava_hf", "LlavaHf"),
    "qwen2_vl": ("simple.qwen2_vl", "Qwen2_VL"),
    "qwen2_5_vl": ("simple.qwen2_5_vl", "Qwen2_5_VL"),
    "qwen3_vl": ("simple.qwen3_vl", "Qwen3_VL"),
    "internvl3": ("chat.internvl_hf", "InternVLHf"),
    "llava_onevision": ("simple.llava_hf", "LlavaHf"),
}
ASKED = "What colour is the shape?"
# Of one colour, because some wrappers pass images on as JPEG; whole patches, because they resize on the way.
SIDES = {"qwen2_vl": 56, "qwen2_5_vl": 56}


@pytest.fixture
def decord(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = ModuleType("decord")
    stand_in.VideoReader = stand_in.cpu = None
    monkeypatch.setitem(sys.modules, "decord", stand_in)


def wrapper_of(family: str, folder: Path) -> lmms:
    module, name = WRAPPERS[family]
    kind = getattr(importlib.import_module(f"lmms_eval.models.{module}"), name)
    pixels = {"min_pixels": 4 * 28 * 28, "max_pixels": 16 * 28 * 28} if family.startswith("qwen") else {}
    return kind(pretrained=str(folder), device="cpu", device_map="cpu", **pixels)


def request_to(wrapper: lmms, image: Image.Image) -> Instance:
    """One question with an image, as the harness hands it to the two kinds of wrappers."""
    settings = {"max_new_tokens": 6, "temperature": 0}
    wrapper.task_dict["task"] = {"test": [{}]}
    if wrapper.is_simple:
        how = (ASKED, settings, lambda doc: [image], 0, "task", "test")
    else:
        content = [{"type": "image", "url": image}, {"type": "text", "text": ASKED}]
        how = (ASKED, lambda doc: [{"role": "user", "content": content}], settings, 0, "task", "test")
    known = {"task": "task", "doc_id": 0, "repeats": 1}
    return Instance(request_type="generate_until", arguments=how, idx=0, metadata=known)


def test_the_familys_wrapper_computes_the_same_logits_and_gives_the_same_answer(
    tuned: tuple[Bench, Path], tmp_path: Path, decord: None
) -> None:
    """Bit-equal where the wrapper keeps the folder's float32; three of them always load bfloat16 (eight bits)."""
    bench, adapter = tuned
    vlm = bench.vlm
    export_model(vlm, adapter, Origin(bench.build, None), tmp_path / "out")
    wrapper = wrapper_of(vlm.family.name, tmp_path / "out")
    wrapper.model.requires_grad_(False)  # see `test_model`
    batch = batch_of(vlm, bench.pool)
    with torch.no_grad(), load_adapter(vlm, adapter) as adapted:
        expected = adapted.model(**batch).logits
    with torch.no_grad():
        found = wrapper.model(**batch).logits
    rounding = 0 if vlm.family.name in {"llava", "llava_onevision", "qwen2_vl"} else 2**-6
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=rounding)
    family = vlm.family
    if family.name == "qwen3_vl":  # its wrapper always gives a system message, Qwen2-VL's, which training does not have
        family = replace(family, template=qwen2_vl.CHATML)
    ours = replace(vlm, model=wrapper.model, family=family)
    side = SIDES.get(family.name, 64)
    grey = Image.new("RGB", (side, side), (128, 128, 128))
    said = generate(ours, [Question(ASKED, lambda: (grey,))], 6, [])[0].text
    answer = wrapper.generate_until([request_to(wrapper, grey)])[0]
    assert said.strip()
    assert getattr(answer, "text", answer).strip() == said.strip()
