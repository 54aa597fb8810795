"""Answers do not depend on how questions are batched."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from selectmm.evaluation import decode, halves, likelihood
from selectmm.evaluation import generate as generate_module
from selectmm.evaluation.answering import Responses
from selectmm.evaluation.batching import Batching
from selectmm.evaluation.decode import TOLERANCE, Reply, Until, greedy
from selectmm.evaluation.generate import Question, generate, in_batches
from selectmm.evaluation.likelihood import answer_losses, rated_in_batches
from selectmm.models.encode import Conversation, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from tests.families import BODIES, FAMILIES


@pytest.fixture(params=BODIES)
def vlm(request: pytest.FixtureRequest, loaded: Callable[[str], VLM]) -> VLM:
    return loaded(request.param)


# For tests of what this package does around the pass, whichever model it is that passes.
SOME = pytest.mark.parametrize("vlm", ["llava_chatml", "qwen2_5_vl"], indirect=True)


def questions(count: int) -> list[Question]:
    """Prompts of many lengths; images of many sizes, every third question without one."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        words = " ".join(rng.choice(["red", "circle", "sum", "9", "What"], size=rng.integers(1, 30)))
        width, height = rng.integers(30, 90, size=2)
        picture = Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        shown = () if number % 3 == 2 else (picture,)
        found.append(Question(f"{words}?", lambda shown=shown: shown))
    return found


def ask(vlm: VLM, asked: list[Question], tokens: int, stops: list[str], size: int) -> list[Reply]:
    """The replies in batches of ``size``, kept in a folder that nobody else uses."""
    with TemporaryDirectory() as folder:
        answer = in_batches(partial(generate, vlm), size, Responses(Path(folder), "task", "asked"), Batching(True))
        return answer(asked, tokens, stops)


def texts(*asked: object) -> list[str]:
    return [reply.text for reply in ask(*asked)]


def test_the_same_answers_at_any_batch_size_and_in_any_order(vlm: VLM) -> None:
    asked = questions(10)
    one, many, backwards = (ask(vlm, some, 8, [], n) for some, n in ((asked, 1), (asked, 10), (asked[::-1], 4)))
    assert one == many == backwards[::-1]
    assert len(set(one)) > 3  # and not always the same


def test_logits_of_a_batch_are_those_of_rows_alone_within_the_stated_noise(vlm: VLM) -> None:
    def steps(asked: list[Question]) -> torch.Tensor:
        """Logits of the first three steps, [n, 3, vocabulary]; an end token is a token like any other."""
        found = []
        conversations = [Conversation((Turn("user", q.prompt),), q.images()) for q in asked]
        batch = encode(vlm, conversations, side="left", limit=None)
        settings = greedy(vlm, Until(3, [], frozenset()))
        vlm.model.generate(
            **inputs_of(batch), generation_config=settings, logits_processor=[lambda _, at: found.append(at) or at]
        )
        return torch.stack(found, 1)

    asked = questions(8)
    alone = torch.cat([steps([question]) for question in asked])
    noise = (steps(asked) - alone).abs().amax(-1) / alone.abs().amax(-1)
    assert noise.max() < 2e-6
    assert 2 * noise.max() < TOLERANCE / 10


@SOME
def test_a_tie_is_decided_alone(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    # Noise as large as ties may be: whatever a batch adds to its logits, rows alone have the last word.
    asked = questions(8)
    alone = ask(vlm, asked, 4, [], 1)
    head, share = vlm.model.get_output_embeddings(), 0.02
    rng = torch.Generator().manual_seed(0)

    def disturb(_head: object, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        if len(logits) == 1:
            return logits
        scale = logits.abs().amax(-1, keepdim=True)
        return logits + share * scale * (2 * torch.rand(logits.shape, generator=rng) - 1)

    hook = head.register_forward_hook(disturb)
    try:
        assert ask(vlm, asked, 4, [], 8) != alone
        monkeypatch.setattr(decode, "TOLERANCE", 3 * share)
        assert ask(vlm, asked, 4, [], 8) == alone
    finally:
        hook.remove()


def test_an_image_changes_the_answer(vlm: VLM) -> None:
    asked = [question for question in questions(6) if question.images()]
    blind = [Question(question.prompt, tuple) for question in asked]
    assert texts(vlm, asked, 8, [], 4) != texts(vlm, blind, 8, [], 4)


@SOME
def test_an_answer_ends_at_a_stop_and_at_the_cap(vlm: VLM) -> None:
    asked = questions(3)
    free = texts(vlm, asked, 8, [], 4)
    stop = free[0][2]
    stopped = ask(vlm, asked, 8, [stop], 4)
    assert [reply.text for reply in stopped] == [text.split(stop)[0] for text in free]
    assert [reply.cut for reply in stopped] == [stop not in text for text in free]
    shorter = ask(vlm, asked, 2, [], 4)
    assert all(long.startswith(reply.text) for long, reply in zip(free, shorter, strict=True))
    assert all(reply.cut for reply in shorter)


def test_an_answer_that_ends_by_itself_is_not_cut_and_may_be_empty(vlm: VLM) -> None:
    # The first token of an answer is made an end token: it ends at once, with nothing said.
    asked = questions(4)
    conversations = [Conversation((Turn("user", q.prompt),), q.images()) for q in asked]
    batch = encode(vlm, conversations, side="left", limit=None)
    firsts = vlm.model(**inputs_of(batch)).logits[:, -1].argmax(-1)

    def encoded(rows: list[int]) -> dict[str, torch.Tensor]:
        return encode(vlm, [conversations[row] for row in rows], side="left", limit=None)

    replies = decode.decode(vlm, encoded, 4, Until(3, [], frozenset({int(firsts[0])})))
    assert replies[0] == Reply("", cut=False) or replies[0].text == vlm.processor.tokenizer.decode(firsts[0])
    assert not replies[0].cut


def test_losses_of_given_answers_are_those_of_transformers_one_row_at_a_time(vlm: VLM) -> None:
    asked, answers = questions(7), ["red", "circle sum 9", "9", "What", "sum sum", "red circle", "circle"]
    found = answer_losses(vlm, asked, answers)
    for question, answer, loss in zip(asked, answers, found, strict=True):
        talk = Conversation((Turn("user", question.prompt), Turn("assistant", answer)), question.images())
        batch = encode(vlm, [talk], side="right", limit=None)
        with torch.inference_mode():
            expected = vlm.model(**inputs_of(batch), labels=batch["labels"]).loss.item()
        assert loss == pytest.approx(expected, rel=1e-4)


@contextmanager
def counting(vlm: VLM) -> Iterator[list[int]]:
    """Yields the list of the rows of every pass over whole prompts, in order."""
    rows: list[int] = []

    def count(_model: object, _inputs: object, named: dict[str, torch.Tensor]) -> None:
        if named["input_ids"].shape[1] > 1:  # not a pass over a batch's next tokens
            rows.append(len(named["input_ids"]))

    hook = vlm.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


@SOME
def test_a_batch_is_decoded_in_parts_of_so_many_tokens_with_the_room_for_answers(
    vlm: VLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = sorted(questions(8), key=lambda question: -len(question.prompt))
    expected = ask(vlm, asked, 4, [], 8)
    talks = [Conversation((Turn("user", question.prompt),), question.images()) for question in asked]
    longest = max(encode(vlm, [talk], side="left", limit=None)["input_ids"].shape[1] for talk in talks)
    for tokens, rows in ((8 * (longest + 4), [8]), (8 * (longest + 4) - 1, [4, 4])):
        monkeypatch.setattr(generate_module, "GENERATED", tokens)
        monkeypatch.setattr(decode, "TOLERANCE", 0)  # or rows that are tied would be passes of one row
        with counting(vlm) as counted:
            ask(vlm, asked, 4, [], 8)
        assert counted[: len(rows)] == rows
        monkeypatch.undo()
    monkeypatch.setattr(generate_module, "GENERATED", 1)
    assert ask(vlm, asked, 4, [], 8) == expected


@SOME
def test_answers_are_rated_in_parts_of_so_many_tokens(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answers = questions(6), ["red", "circle sum 9", "9", "What", "sum sum", "red circle"]
    expected = answer_losses(vlm, asked, answers)
    counted: list[int] = []
    monkeypatch.setattr(likelihood, "TOKENS", 1)
    monkeypatch.setattr(
        likelihood, "encode", lambda vlm, some, **how: counted.append(len(some)) or encode(vlm, some, **how)
    )
    found = answer_losses(vlm, asked, answers)
    assert counted == [1] * 6
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def uncollected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage is not collected before halves are tried: that takes a tenth of a second, and a CPU gets nothing back."""
    monkeypatch.setattr(halves, "clear_device_cache", lambda **_named: None)


@pytest.mark.usefixtures("uncollected")
def test_where_memory_does_not_suffice_for_a_batch_its_halves_are_answered(tmp_path: Path) -> None:
    tried: list[int] = []

    def run_out(_model: object, _inputs: object, named: dict[str, torch.Tensor]) -> None:
        tried.append(len(named["input_ids"]))
        if tried[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    vlm, asked = FAMILIES["qwen2_vl"].load(tmp_path), questions(5)
    expected = ask(vlm, asked, 4, [], 2)
    vlm.model.register_forward_pre_hook(run_out, with_kwargs=True)
    assert ask(vlm, asked, 4, [], 5) == expected
    assert tried[:2] == [5, 2] and 3 in tried


@pytest.mark.usefixtures("uncollected")
def test_answers_in_halves_are_kept_in_the_order_of_the_questions(tmp_path: Path) -> None:
    def answer(asked: Sequence[Question], _tokens: int, _stops: Sequence[str]) -> list[Reply]:
        batches.append(len(asked))
        if len(asked) > 2:
            raise torch.OutOfMemoryError
        return [Reply(question.prompt) for question in asked]

    batches: list[int] = []
    asked = questions(7)
    answered = in_batches(answer, 5, Responses(tmp_path, "toy", "toy"), Batching(True))
    assert [reply.text for reply in answered(asked, 4, [])] == [question.prompt for question in asked]
    assert batches == [5, 2, 3, 1, 2, 2]


@pytest.mark.usefixtures("uncollected")
def test_where_memory_does_not_suffice_for_a_batch_its_halves_are_rated(tmp_path: Path) -> None:
    batches: list[int] = []

    def rate(asked: Sequence[Question], answers: Sequence[str]) -> list[float]:
        batches.append(len(asked))
        if len(asked) > 2:
            raise torch.OutOfMemoryError
        return [float(len(answer)) for answer in answers]

    answers = ["a" * number for number in range(1, 6)]
    rated = rated_in_batches(rate, 5, Responses(tmp_path, "toy", "toy"))
    assert rated(questions(5), answers) == [1, 2, 3, 4, 5]
    assert batches == [5, 2, 3, 1, 2]


@pytest.mark.usefixtures("uncollected")
def test_a_single_question_that_memory_does_not_suffice_for_is_an_error(tmp_path: Path) -> None:
    def run_out(_asked: Sequence[Question], *_more: object) -> list[Any]:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        rated_in_batches(run_out, 2, Responses(tmp_path, "toy", "toy"))(questions(2), ["a", "b"])
    with pytest.raises(torch.OutOfMemoryError):
        in_batches(run_out, 2, Responses(tmp_path, "toy", "toy"), Batching(True))(questions(2), 4, [])


def test_an_error_that_is_not_of_memory_is_not_tried_again(tmp_path: Path) -> None:
    def fail(asked: Sequence[Question], *_more: object) -> list[Reply]:
        tried.append(len(asked))
        raise RuntimeError("The shapes do not fit.")

    tried: list[int] = []
    with pytest.raises(RuntimeError, match="shapes"):
        in_batches(fail, 4, Responses(tmp_path, "toy", "toy"), Batching(True))(questions(4), 4, [])
    assert tried == [4]
