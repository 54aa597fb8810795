"""What a plan says of vLLM, by hand, and that evaluation of a paper's table takes less than its training with it."""

from dataclasses import replace

import pytest
import yaml

from selectmm.flops.formulas import Load
from selectmm.flops.gpus import GPUS
from selectmm.planning.corrections import Corrections
from selectmm.planning.known import benchmarks
from selectmm.planning.known.benchmarks import TaskSize
from selectmm.planning.page import _slow_evaluation
from selectmm.planning.serving import CHUNK, DEFAULT, START, STEP, _steps, served
from selectmm.planning.stages import Plan, Planned, seconds_of, total_of
from selectmm.planning.work import Device, Work
from tests.planning.test_work import BODY, ROWS, suite_of
from tests.test_line import ROOT

H100 = GPUS["h100"]
DEVICE = Device(None, BODY, size=2)
# Keys and values of a token of BODY: two layers of 4 keys and 4 values, 2 bytes each.
KEPT = 2 * 2 * 4 * 2


def test_the_default_is_that_of_the_configuration() -> None:
    options = yaml.safe_load((ROOT / "configs/engine/vllm.yaml").read_text())
    assert {name: value for name, value in options.items() if name != "_target_"} == vars(DEFAULT)


def test_seats_take_one_request_after_the_other() -> None:
    assert _steps(8, 8, said=5, longest=10) == 10, "all at once"
    assert _steps(24, 8, said=5, longest=10) == 2 * 5 + 10, "two answers of each seat, then perhaps the longest"


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """One task of prompts of 30 tokens without an image, and answers of 20 in a batch: 10 on average, 40 at most."""
    monkeypatch.setitem(benchmarks.TASKS, "words", TaskSize(100, "nobody", 30, 20, image=False))


def memory_for(sequences: int) -> float:
    """Bytes of a GPU of which 90 % hold the model, a chunk of tokens, and as many sequences of 30 + 10 tokens."""
    # A pass's states: 2 bytes of 4·width 4, 3·queries 4 and 3·inner 8, and 8 bytes of each of the 4 channels.
    passing = 2 * 1000 + CHUNK * (2 * (4 * 4 + 3 * 4 + 3 * 8) + 8 * 4)
    return (passing + (sequences + 0.5) * KEPT * 40) / 0.9


def test_items_are_answered_by_as_many_seats_as_the_memory_has(words: None) -> None:
    found = served(DEVICE, ROWS, {"words": 100}, suite_of(None, None, "words"), DEFAULT, 1, memory_for(4))
    steps = (100 - 4) / 4 * 10 + 40
    assert found.overhead == pytest.approx(START + STEP * steps)
    # Each step reads the language model's 900 numbers, each token the keys and values of what stands before it.
    assert found.streamed == pytest.approx(steps * 2 * 900 + 100 * 10 * (30 + 5) * KEPT)
    read = 2 * 2 * 160 * 3000 + 2 * 4 * 4 * 100 * 30**2 + 2 * 20 * 100
    said = 1000 * (2 * 2 * 160 + 2 * 4 * 4 * 35 + 2 * 20)
    assert found.flops == pytest.approx(read + said) and found.tokens == 3000 + 1000
    assert found.memory.total == pytest.approx(0.9 * memory_for(4)), "vLLM takes all that it may"
    computing = found.flops / (989.4e12 * 0.4) + found.streamed / (3350e9 * 0.6)
    assert seconds_of(found, H100, 0.4) == pytest.approx(computing + found.overhead)


def test_blocks_go_round_and_a_gpu_without_one_is_held(words: None) -> None:
    engine = replace(DEFAULT, block=40)
    one, four = (
        served(DEVICE, ROWS, {"words": 100}, suite_of(None, None, "words"), engine, gpus, 1e12) for gpus in (1, 4)
    )
    assert one.overhead == pytest.approx(START + STEP * 3 * 40), "three blocks, each until its longest answer ends"
    assert four.overhead == pytest.approx(4 * START + STEP * 4 * 40)


def test_a_likelihood_takes_no_step_and_an_unknown_number_of_items_no_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmarks.TASKS, "options", TaskSize(10, "nobody", 30, 0, image=False, options=4))
    suite = suite_of(None, None, "options")
    found = served(DEVICE, Load(), {"options": 10}, suite, DEFAULT, 1, 1e12)
    assert found.overhead == START and found.streamed == 0
    assert found.flops == 2 * 2 * 160 * 1200 + 2 * 4 * 4 * 40 * 30**2 + 2 * 20 * 1200, "the head on every token"
    assert served(DEVICE, ROWS, {"strange": None}, suite, DEFAULT, 1, 1e12).flops is None


def test_what_was_measured_of_our_own_decoding_does_not_correct_vllm() -> None:
    measured = Corrections({"decoding": 2.0})
    ours, theirs = (Planned("evaluate", "", (), "to do", 1, Work(flops=1, overhead=more)) for more in (0, 90))
    assert measured.factor(ours) == 2.0 and measured.factor(theirs) is None


def advice(evaluation: float, tuning: float, by_engine: float | None) -> str:
    stages = [
        Planned("finetune", "", (), "to do", 1, Work(flops=tuning * 3600 * 989.4e12 * 0.4, precision="bf16-true")),
        Planned("evaluate", "", (), "to do", 1, Work(flops=0, overhead=evaluation * 3600)),
    ]
    if by_engine is not None:
        stages[1] = replace(stages[1], by_engine=Work(flops=0, overhead=by_engine * 3600))
    return " ".join(_slow_evaluation(total_of([Plan("", stages, [])], H100, 0.4)))


def test_a_long_evaluation_is_said_with_what_helps() -> None:
    assert advice(3, 4, 1) == advice(0.9, 0.1, 0.05) == ""
    assert "Evaluation takes longer than training here, because our own decoding, the default" in advice(5, 4, 1)
    assert "With engine=vllm the same is estimated at 1 hours" in advice(5, 4, 1)
    assert advice(5, 4, None) == "Evaluation takes longer than training here; suite.limit and suite.only shorten it."
