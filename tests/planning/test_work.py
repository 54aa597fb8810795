"""What stages write and evaluations ask, by hand."""

from dataclasses import replace
from pathlib import Path

import lm_eval
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import selectmm.models  # noqa: F401  (lets torchvision import)
from selectmm.cache.cost import Cost
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.features.adam import AdamGradient
from selectmm.features.answers import AnswerLoss
from selectmm.features.blind import BlindLoss
from selectmm.features.consistency import Consistency
from selectmm.features.coupling import ImageCoupling
from selectmm.features.gradients import GradientNorm, ProjectedGradient
from selectmm.features.neurons import TopNeurons
from selectmm.features.outputs import AttentionOutputs
from selectmm.features.pairs import ClipPair, StatePair
from selectmm.features.pictures import ImageEmbedding
from selectmm.features.sentences import QuestionEmbedding
from selectmm.features.spectrum import LastState, StateSpectrum
from selectmm.features.states import ImageStates
from selectmm.features.tokens import TokenCount
from selectmm.features.unasked import UnaskedLoss
from selectmm.flops.anatomy import Anatomy, Layer
from selectmm.flops.formulas import Load, forward
from selectmm.flops.gpus import GPUS
from selectmm.planning.corrections import Corrections
from selectmm.planning.items import items_of
from selectmm.planning.known.benchmarks import TASKS
from selectmm.planning.memory import generating_memory, scoring_memory
from selectmm.planning.page import _ending
from selectmm.planning.stages import Plan, Planned, total_of
from selectmm.planning.work import Device

LAYER = Layer(160, 160, 48, 4, 4, 8, 68, 32, 32, 12, 4, 32)
BODY = Anatomy(1000, 900, 4, 5, (LAYER, LAYER), 0, 0, 0)
ROWS = Load(rows=2, tokens=20, squares=200, answers=6, longest=10)


def suite_of(tasks: Path | None, limit: int | None, *names: str) -> Suite:
    benchmarks = [Benchmark(name, "lmms-eval", name, "accuracy", 100, None) for name in names]
    return Suite("own", benchmarks, tasks, limit, batch_size=3, max_new_tokens=7)


def test_items_are_counted_where_the_data_lie(tmp_path: Path) -> None:
    for name, rows in (("shapes", 12), ("words", 3)):
        (tmp_path / "data" / name).mkdir(parents=True)
        pq.write_table(pa.table({"question": ["?"] * rows}), tmp_path / "data" / name / "test.parquet")
        text = f"include: x.yaml\ntask: {name}\ndataset_path: ${{here}}/data/{name}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    assert items_of(suite_of(tmp_path, None, "shapes", "words")) == {"shapes": 12, "words": 3}
    assert items_of(suite_of(tmp_path, 5, "shapes", "strange")) == {"shapes": 5, "strange": None}
    assert items_of(suite_of(None, 5, "strange")) == {"strange": None}


@pytest.mark.parametrize(("task", "folder"), [("mmlu", "mmlu/default"), ("mmlu_pro", "mmlu_pro")])
def test_a_limit_is_of_every_part_that_the_harness_has_of_a_task(task: str, folder: str) -> None:
    files = (Path(lm_eval.__file__).parent / "tasks" / folder).glob(f"{task}_*.yaml")
    assert items_of(suite_of(None, 10, task)) == {task: 10 * len(list(files))}
    assert items_of(suite_of(None, 10**6, task)) == {task: TASKS[task].items}


def test_an_item_is_read_and_answered() -> None:
    work = Device(None, BODY, size=2).evaluate(ROWS, {"shapes": 4}, suite_of(None, None, "shapes"))
    read = 2 * 2 * 160 * 40 + 2 * 4 * 4 * 400 + 2 * 20 * 4  # four items of 10 tokens, the head on the last of each
    said = 4 * 7 * (2 * 2 * 160 + 2 * 4 * 4 * 10 + 2 * 20)  # seven tokens each, which attend to ten
    assert work.flops == read + said and work.tokens == 40 + 28
    assert work.precision == "bf16-true" and work.disk is None


def test_the_memory_of_an_evaluation_is_that_of_so_many_tokens() -> None:
    """16 rows of 4,096 tokens and as many of more: no batch has more than 65,536 tokens, but for a single row."""
    device, suite = Device(None, BODY, size=2), replace(suite_of(None, None, "shapes"), batch_size=16)
    for longest, tokens in ((10, 16 * 17), (4_089, 65_536), (8_192, 65_536), (70_000, 70_007)):
        found = device.evaluate(replace(ROWS, longest=longest), {"shapes": 4}, suite).memory
        assert found == generating_memory(BODY, 2, tokens)
    scored = device.evaluate(replace(ROWS, longest=8_192), {"mmlu": 4}, replace(suite, max_new_tokens=1)).memory
    assert scored == max(
        generating_memory(BODY, 2, 65_536), scoring_memory(BODY, 2, 16_384), key=lambda memory: memory.total
    )
    wide = Device(None, replace(BODY, vocabulary=152_000), size=2)
    scored = wide.evaluate(replace(ROWS, longest=8_192), {"mmlu": 4}, suite).memory
    assert scored == scoring_memory(wide.body, 2, 16_384)


def test_a_batch_of_longer_answers_has_fewer_rows_and_takes_more_passes() -> None:
    """Rows of 10 tokens and room for 16,374 come four at a time, not sixteen."""
    device, suite = Device(None, BODY, size=2), replace(suite_of(None, None, "shapes"), batch_size=16)
    work = device.evaluate(ROWS, {"shapes": 16}, replace(suite, max_new_tokens=16_374))
    assert work.steps == 4 * 16_374 * len(BODY.layers)


def test_a_plan_says_what_the_disk_needs_while_shards_are_joined() -> None:
    """Both the shards and the file that they are joined to are there, of one feature after the other."""
    work = Device(None, BODY, size=2).features(ROWS, [ProjectedGradient(16), TokenCount()], 4, 8)
    assert (work.disk, work.joining) == (2 * (17 + 1) * 4, 2 * 17 * 4)
    stages = [Planned("features", "", (), state, 2, replace(work, flops=0)) for state in ("to do", "cached")]
    text = " ".join(_ending([Plan("", stages, [])], GPUS["h100"], 0.4, 256))
    assert "144 B of disk" in text
    assert "While the shards of a feature are joined, up to 136 B of disk more are in use, 280 B at the most." in text
    cached = " ".join(_ending([Plan("", stages[1:], [])], GPUS["h100"], 0.4, 256))
    assert "joined" not in cached


def test_the_likelihood_of_held_out_answers_is_read_and_not_generated() -> None:
    """Questions and answers of rows like the pool's, once: the same as a pass over so many rows."""
    work = Device(None, BODY, size=2).evaluate(ROWS, {"own_likelihood": 4}, suite_of(None, None, "own_likelihood"))
    assert (work.tokens, work.steps, work.streamed) == (40, 0, 0)
    assert work.flops == forward(BODY, ROWS.as_many_as(4))


def test_features_on_disk_are_as_wide_as_their_values() -> None:
    device = Device(None, BODY, size=2)
    assert device.features(ROWS, [ImageStates(1)], 0, 8).disk == 2 * 4 * 2, "float16 of a half-precision model"
    assert device.features(ROWS, [TokenCount()], 0, 8).disk == 2 * 4
    assert device.features(ROWS, [ProjectedGradient(16)], 4, 8).disk == 2 * 17 * 4
    assert device.features(ROWS, [AttentionOutputs((1, 2), None)], 0, 8).disk == 2 * (2 * 2 * 4) * 2
    assert device.features(ROWS, [StateSpectrum(), LastState()], 0, 8).disk == 2 * (2 * 4 + 4 * 2)
    assert device.features(ROWS, [TopNeurons((1, 2), (1, 3), None)], 0, 8).disk == 2 * (1 + 3) * 4
    assert device.features(ROWS, [QuestionEmbedding()], 0, 8).disk == 2 * 384 * 4
    assert device.features(ROWS, [AdamGradient(16)], 4, 8).disk == 2 * 17 * 4
    assert device.features(ROWS, [ImageCoupling(), UnaskedLoss(), Consistency()], 0, 8).disk == 2 * (4 + 4 + 2 * 4)
    assert device.features(ROWS, [StatePair()], 0, 8).disk == 2 * 2 * 4 * 2, "image and text, four channels each"
    assert device.features(ROWS, [ClipPair("a"), ImageEmbedding("b")], 0, 8).disk == 2 * (2 * 768 + 768) * 4
    assert device.features(ROWS, [TokenCount()], 0, 8).flops == 0


def test_the_loss_without_the_image_is_a_pass_over_the_words() -> None:
    rows = Load(rows=2, tokens=20, squares=200, image_tokens=5, answers=6, longest=10, tower=1000)
    words = 2 * 2 * 160 * 15 + 2 * 4 * 4 * 200 * (15 / 20) ** 2 + 2 * 20 * 6
    assert Device(None, BODY, size=4).features(rows, [BlindLoss()], 0, 8).flops == pytest.approx(words)


def test_consistency_is_three_passes_beside_the_one_it_shares() -> None:
    device = Device(None, BODY, size=4)
    alone, blind, unasked = (device.features(ROWS, [f], 0, 8).flops for f in (AnswerLoss(), BlindLoss(), UnaskedLoss()))
    assert unasked == alone
    assert device.features(ROWS, [Consistency()], 0, 8).flops == pytest.approx(3 * alone + blind)


def test_one_pass_goes_as_deep_as_its_deepest_feature() -> None:
    device = Device(None, BODY, size=4)
    both = device.features(ROWS, [ImageStates(1), ImageStates(2)], 0, 8).flops
    assert both == device.features(ROWS, [ImageStates(2)], 0, 8).flops
    assert both == pytest.approx(2 * device.features(ROWS, [ImageStates(1)], 0, 8).flops)


@pytest.mark.parametrize("kind", [GradientNorm, ProjectedGradient, AdamGradient])
@pytest.mark.parametrize("name", ["features", "scoring"])
def test_a_pass_for_gradients_is_corrected_by_what_such_a_pass_took(name: str, kind: type) -> None:
    measured = Corrections({"features": 3.0, "gradients": 5.0})
    assert measured.factor(Planned(name, f"{kind.__name__} at checkpoint 2", (), "to do", 1)) == 5.0
    assert measured.factor(Planned(name, "AnswerLoss", (), "to do", 1)) == 3.0


def test_what_a_cached_stage_took_counts_once_however_many_jobs_find_it() -> None:
    def cached(name: str, seconds: float, *marks: str) -> Planned:
        return Planned(name, "", marks, "cached", 1, cost=Cost(seconds, seconds))

    both, one = cached("features", 10.0, "a", "b"), cached("features", 10.0, "a")
    scored, trained = cached("scoring", 3.0, "c"), cached("finetune", 4.0, "c")
    jobs = [Plan(name, [both, one, scored, trained], []) for name in ("first", "second")]
    assert total_of(jobs, GPUS["h100"], 0.4).saved == 10.0 + 3.0 + 4.0
