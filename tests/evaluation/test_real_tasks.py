"""The real task code on our data sets: the schema, the prompt, the parsing, the scoring and the aggregation."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selectmm.evaluation import multimodal, text
from selectmm.evaluation.decode import Reply
from selectmm.evaluation.generate import Answerer
from selectmm.evaluation.outcome import Outcome
from selectmm.evaluation.suite import Benchmark
from selectmm.evaluation.tasks import rendered
from selectmm.quickstart.schemas import write
from tests.evaluation.material import TEXTS, answering, benchmarks, items, rendered_tasks, said
from tests.evaluation.scripted import Scripted

SHOWN = [key for key in benchmarks() if key not in TEXTS]
PERFECT = {"mme": 400}  # two categories of 200 points


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may so much as try to reach the network."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def run(key: str, right: Callable[[int], bool]) -> Outcome:
    """A stub's outcome on a mini-benchmark through the real harness."""
    benchmark = benchmarks()[key]
    if key in TEXTS:
        return text.run([benchmark], rendered_tasks(), Scripted(items()[key], right), limit=None, seed=0)[
            benchmark.name
        ]
    return shown([benchmark], answering(said(key, right)))[benchmark.name]


def shown(found: Sequence[Benchmark], answer: Answerer) -> dict[str, Outcome]:
    options = {"limit": None, "max_new_tokens": 8, "images": "shown", "seed": 0}
    return multimodal.run(found, rendered_tasks(), answer, **options)


@pytest.mark.parametrize("key", list(benchmarks()))
def test_a_perfect_model_scores_everything_and_a_wrong_one_nothing(key: str) -> None:
    perfect, wrong = run(key, lambda _: True), run(key, lambda _: False)
    assert perfect.value == pytest.approx(PERFECT.get(key, 100))
    assert wrong.value == pytest.approx(0)
    if key != "pope":  # a bootstrap of eight items may draw no "yes", and F1 is then zero
        assert perfect.stderr == pytest.approx(0)
    assert {answer.score for answer in perfect.answers} == {1.0}
    assert {answer.score for answer in wrong.answers} == {0.0}
    assert len(perfect.answers) == len(items()[key])


@pytest.mark.parametrize("key", [key for key in benchmarks() if key not in ("pope", "mme")])
def test_an_accuracy_is_the_mean_over_items_and_carries_its_standard_error(key: str) -> None:
    outcome = run(key, lambda position: position % 4 == 0)
    assert outcome.value == pytest.approx(25)
    assert [answer.score for answer in outcome.answers] == [1.0, 0, 0, 0, 1.0, 0, 0, 0]
    assert outcome.stderr == pytest.approx(100 * (0.25 * 0.75 / 7) ** 0.5)
    assert outcome.majority == pytest.approx(25)  # four colours, each twice


def test_pope_is_f1() -> None:
    # Answers are yes at 0, 3, 6. Right at 0 and 1 only: one true yes, two missed, four false yes (2 is a wrong "yes").
    outcome = run("pope", lambda position: position < 2)
    truth = [position % 3 == 0 for position in range(8)]
    guess = [truth[position] if position < 2 else not truth[position] for position in range(8)]
    true_yes = sum(t and g for t, g in zip(truth, guess, strict=True))
    precision, recall = true_yes / sum(guess), true_yes / sum(truth)
    assert outcome.value == pytest.approx(100 * 2 * precision * recall / (precision + recall))
    assert outcome.majority == pytest.approx(100 * 2 * (3 / 8) / (3 / 8 + 1))  # always yes
    assert outcome.stderr is not None and 0 < outcome.stderr < 50


def test_mme_adds_accuracy_and_pairs_over_categories() -> None:
    # Three pairs per category; in the first category one pair is right and one half right, in the second all.
    outcome = run("mme", lambda position: position in (0, 1, 2) or position >= 6)
    first = 100 * 3 / 6 + 100 * 1 / 3
    assert outcome.value == pytest.approx(first + 200)
    assert outcome.majority == pytest.approx(100)  # always yes: half of each pair, no pair
    assert outcome.stderr is not None and 0 < outcome.stderr < 200


def test_mme_pairs_stay_together_in_the_bootstrap() -> None:
    # With every pair either right or wrong, pairs drawn apart would give half pairs; the assertion is lmms-eval's own.
    whole = run("mme", lambda position: position % 4 < 2)
    assert whole.value == pytest.approx(200 * 2 / 3 + 200 / 3)


def test_an_equal_seed_gives_an_equal_error() -> None:
    right = [run("pope", lambda position: position < 5).stderr for _ in range(2)]
    assert right[0] == right[1]


def test_benchmarks_that_share_a_task_run_it_once() -> None:
    total = benchmarks()["mme"]
    halves = [
        replace(total, name="P", metric="mme_perception_score"),
        replace(total, name="C", metric="mme_cognition_score"),
    ]
    calls = []
    answer = answering(said("mme", lambda position: position < 6))

    def counted(*question: object) -> list[str]:
        calls.append(1)
        return answer(*question)

    found = shown(halves, counted)
    assert (len(calls), found["P"].value, found["C"].value) == (1, 200, 0)
    assert len(found["P"].answers) == len(found["C"].answers) == 6


@pytest.mark.parametrize("key", SHOWN)
def test_a_task_gives_prompts_targets_and_images(key: str) -> None:
    seen = []

    def answer(questions: list, tokens: int, stops: list[str]) -> list[Reply]:
        seen.extend((question.prompt, question.images()) for question in questions)
        assert tokens == 8
        return [Reply("")] * len(questions)

    shown([benchmarks()[key]], answer)
    for item, (prompt, images) in zip(items()[key], seen, strict=True):
        assert item.question.capitalize() in prompt
        assert all(option in prompt for option in item.options)
        assert [picture.size for picture in images] == ([item.image.size] if item.image else [])


def test_mmbench_counts_a_question_only_if_all_its_rotations_are_right(tmp_path: Path) -> None:
    write(items(), tmp_path)
    file = next((tmp_path / "mmbench").glob("*.parquet"))
    table = pq.read_table(file)
    rotated = pa.array([0, 1, 2, 3, 1_000_000, 1_000_001, 1_000_002, 1_000_003], pa.int64())
    place = table.schema.get_field_index("index")
    pq.write_table(table.set_column(place, table.schema.field(place), rotated), file)
    answer = answering(said("mmbench", lambda position: position != 5))
    with rendered(tmp_path) as folder:
        found = multimodal.run(
            [benchmarks()["mmbench"]], folder, answer, limit=None, max_new_tokens=8, images="shown", seed=0
        )["mini-MMBench"]
    assert found.value == pytest.approx(75)
    assert [answer.score for answer in found.answers] == [1, 0, 1, 1, 1, 0, 1, 1]
    assert found.stderr == pytest.approx(100 * (0.75 * 0.25 / 3) ** 0.5)  # four questions, not eight items
