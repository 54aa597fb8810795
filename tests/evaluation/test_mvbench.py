"""mini-MVBench through lmms-eval's own task code: clips are opened as clips, and every reference score is there."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from selectmm.errors import UserError
from selectmm.evaluation import multimodal
from selectmm.evaluation.decode import Reply
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.generate import Question, generate
from selectmm.evaluation.images import as_shown
from selectmm.evaluation.items import items_of
from selectmm.evaluation.results import read_answers
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.evaluation.tasks import rendered
from selectmm.evaluation.video import check_clips, shows_clips
from selectmm.evaluation.vllm_backend import _asked
from selectmm.models import llava
from selectmm.models.encode import Conversation, encode
from selectmm.models.vlm import VLM
from selectmm.pool.clip import Clip
from selectmm.pool.sample import Turn
from selectmm.quickstart.clips import rows
from tests.evaluation.material import CONFIGS
from tests.families import FAMILIES
from tests.tiny import tiny_llava

from lmms_eval.tasks.mvbench.utils import mvbench_doc_to_text  # isort: skip

HELD = {"direction": 8, "existence": 4, "size": 4, "order": 4}
TASK = Path(rows.__file__).parent / "tasks" / "mini_mvbench.yaml"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "HELD", HELD)
        rows.write_benchmark(folder)
    shutil.copy(TASK, folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return llava.load(str(tiny_llava(tmp_path_factory.mktemp("llava"))), "chatml", device="cpu", frames=3)


def benchmark() -> Benchmark:
    entry = yaml.safe_load((CONFIGS / "mini_video.yaml").read_text())["benchmarks"][0]
    return Benchmark(**{key: value for key, value in entry.items() if key != "_target_"})


def suite(tasks: Path) -> Suite:
    return Suite("x", [benchmark()], tasks, None, 8, 4)


def test_prompts_and_scores_are_mvbench_s_own(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "HELD", HELD)
    items, asked = rows.held_out(), []

    def right_but_once(questions: Sequence[Question], _tokens: int, _stops: Sequence[str]) -> list[Reply]:
        asked.extend(questions)
        return [Reply(f"({rows.letter(one)}) {one.answer}", False) for one in items[:-1]] + [Reply("Z", False)]

    with rendered(tasks) as folder:
        found = multimodal.run(
            [benchmark()], folder, right_but_once, limit=None, max_new_tokens=16, images="shown", seed=0
        )["mini-MVBench"]
        for question, one in zip(asked, items, strict=True):
            doc = {"question": one.question, "candidates": one.options}
            assert question.prompt == rows.asked(one) == mvbench_doc_to_text(doc, {"post_prompt": rows.BEST})
            (clip,) = question.images()
            assert isinstance(clip, Clip) and np.array_equal(clip.read(range(8)), one.frames)
        shuffled = as_shown(asked, "shuffled", np.random.default_rng(0))
        names = [[question.images()[0].file.name for question in some] for some in (asked, shuffled)]
    assert found.value == 95 and found.majority == 40, "the best letter of 20 items is right on 8"
    assert [answer.target for answer in found.answers] == [rows.letter(one) for one in items]
    assert len({answer.image for answer in found.answers}) == 20, "every item has a clip of its own"
    assert sorted(names[0]) == sorted(names[1]) and not any(a == b for a, b in zip(*names, strict=True))


def test_a_model_is_shown_the_frames_or_nothing_or_another_clip(tiny: VLM, tasks: Path, tmp_path: Path) -> None:
    said = {}
    for images in ("shown", "blind", "shuffled"):
        (tmp_path / images).mkdir()
        (score,) = evaluate(tiny, suite(tasks), tmp_path / images, 0, images)
        assert score.items == 20 and score.chance == 40
        said[images] = [answer.answer for answer in read_answers(tmp_path / images / score.answers)]
    assert said["shown"] != said["blind"]
    with rendered(tasks) as folder:
        asked = []
        with pytest.raises(StopIteration):
            multimodal.run(
                [benchmark()], folder, partial(_keep, asked), limit=1, max_new_tokens=4, images="shown", seed=0
            )
        (reply,) = generate(tiny, asked, 4, [])
        assert reply.text == said["shown"][0]
        qwen = FAMILIES["qwen2_vl"].load(tmp_path / "qwen")
        talk = Conversation((Turn("user", asked[0].prompt),), asked[0].images())
        assert "pixel_values_videos" in encode(qwen, [talk], side="left", limit=None)
        assert len(generate(qwen, asked, 4, [])) == 1
        with pytest.raises(UserError, match="clips, and vLLM is given images alone; evaluate it with engine=null"):
            _asked(tiny, asked[0], None)
        blind = replace(tiny, family=llava.family(llava.CHATML))
        with pytest.raises(UserError, match=r"^This benchmark shows clips, which the model \(llava\) does not take; "):
            generate(blind, asked, 4, [])


def test_a_run_is_told_before_anything_is_computed_that_its_model_takes_no_clips(tiny: VLM, tasks: Path) -> None:
    check_clips(tiny, suite(tasks), served=False)
    blind = replace(tiny, family=llava.family(llava.CHATML))
    with pytest.raises(
        UserError, match=r"^mini-MVBench shows clips, which the model \(llava\) does not take; choose a"
    ):
        check_clips(blind, suite(tasks), served=False)
    with pytest.raises(UserError, match=r"^mini-MVBench shows clips, and vLLM is given images alone; evaluate with"):
        check_clips(tiny, suite(tasks), served=True)
    real = replace(benchmark(), name="MVBench", task="mvbench_object_shuffle")
    other = Benchmark("POPE", "lmms-eval", "pope", "pope_f1_score", 100, 50)
    builtin = Suite("x", [real, other], None, None, 1, 1)
    assert [shows_clips(one, builtin) for one in builtin.benchmarks] == [True, False]


def _keep(into: list[Question], questions: Sequence[Question], _tokens: int, _stops: Sequence[str]) -> list[Reply]:
    into.extend(questions)
    raise StopIteration


def test_the_check_of_contamination_looks_at_middle_frames(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "HELD", HELD)
    for name, items in items_of(suite(tasks)):
        assert name == "mini-MVBench"
        for item, one in zip(items, rows.held_out(), strict=True):
            (picture,) = item.images()
            assert np.array_equal(np.asarray(picture), one.frames[4])


def test_a_clip_that_is_not_there_is_one_sentence(tiny: VLM, tasks: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tasks, tmp_path / "tasks")
    next((folder / "mvbench" / "clips").iterdir()).unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"^Task 'mini_mvbench': the clip of item \d+ is missing: .*\.mp4; fetch the"):
        evaluate(tiny, suite(folder), tmp_path / "out", 0)
