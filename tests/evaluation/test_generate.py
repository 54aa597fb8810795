"""Answers do not depend on how questions are batched."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from PIL import Image

from selectmm.evaluation import decode
from selectmm.evaluation.answering import Responses
from selectmm.evaluation.batching import Batching
from selectmm.evaluation.decode import TOLERANCE, Reply, Until, greedy
from selectmm.evaluation.generate import Question, generate, in_batches
from selectmm.evaluation.likelihood import answer_losses, rated_in_batches
from selectmm.models.encode import Conversation, encode
from selectmm.models.forward import inputs_of
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from tests.families import FAMILIES


@pytest.fixture(params=FAMILIES, scope="module")
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return FAMILIES[request.param].load(tmp_path_factory.mktemp(request.param))


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


def test_the_same_answers_at_batch_1_and_batch_16_in_any_order(vlm: VLM) -> None:
    asked = questions(20)
    one, many, backwards = (ask(vlm, some, 8, [], n) for some, n in ((asked, 1), (asked, 16), (asked[::-1], 7)))
    assert one == many == backwards[::-1]
    assert len(set(one)) > 3  # and not always the same


def test_logits_of_a_batch_are_those_of_rows_alone_within_the_stated_noise(vlm: VLM) -> None:
    def steps(asked: list[Question]) -> torch.Tensor:
        """Logits of the first four steps, [n, 4, vocabulary]; an end token is a token like any other."""
        found = []
        conversations = [Conversation((Turn("user", q.prompt),), q.images()) for q in asked]
        batch = encode(vlm, conversations, side="left", limit=None)
        settings = greedy(vlm, Until(4, [], frozenset()))
        vlm.model.generate(
            **inputs_of(batch), generation_config=settings, logits_processor=[lambda _, at: found.append(at) or at]
        )
        return torch.stack(found, 1)

    asked = questions(12)
    alone = torch.cat([steps([question]) for question in asked])
    noise = (steps(asked) - alone).abs().amax(-1) / alone.abs().amax(-1)
    assert noise.max() < 2e-6
    assert 2 * noise.max() < TOLERANCE / 10


def test_a_tie_is_decided_alone(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    # Noise as large as ties may be: whatever a batch adds to its logits, rows alone have the last word.
    asked = questions(16)
    alone = ask(vlm, asked, 6, [], 1)
    head, share = vlm.model.get_output_embeddings(), 0.02
    rng = torch.Generator().manual_seed(0)

    def disturb(_head: object, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        if len(logits) == 1:
            return logits
        scale = logits.abs().amax(-1, keepdim=True)
        return logits + share * scale * (2 * torch.rand(logits.shape, generator=rng) - 1)

    hook = head.register_forward_hook(disturb)
    try:
        assert ask(vlm, asked, 6, [], 16) != alone
        monkeypatch.setattr(decode, "TOLERANCE", 3 * share)
        assert ask(vlm, asked, 6, [], 16) == alone
    finally:
        hook.remove()


def test_an_image_changes_the_answer(vlm: VLM) -> None:
    asked = [question for question in questions(12) if question.images()]
    blind = [Question(question.prompt, tuple) for question in asked]
    assert texts(vlm, asked, 8, [], 4) != texts(vlm, blind, 8, [], 4)


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


def test_a_batch_that_memory_does_not_suffice_for_is_rated_in_halves(tmp_path: Path) -> None:
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


def test_a_single_answer_that_memory_does_not_suffice_for_is_an_error(tmp_path: Path) -> None:
    def rate(_asked: Sequence[Question], _answers: Sequence[str]) -> list[float]:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        rated_in_batches(rate, 2, Responses(tmp_path, "toy", "toy"))(questions(2), ["a", "b"])
