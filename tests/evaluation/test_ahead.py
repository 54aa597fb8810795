"""The next batch is made ready while one is answered, and nothing else changes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Event, get_ident

import pytest
import torch

from selectmm.errors import UserError
from selectmm.evaluation import halves
from selectmm.evaluation.ahead import one_ahead
from selectmm.evaluation.answering import Responses
from selectmm.evaluation.batching import Batching
from selectmm.evaluation.generate import (
    Question,
    Reply,
    answered,
    generate,
    in_batches,
    prompts_of,
    with_own_processor,
)
from tests.evaluation.material import image
from tests.families import FAMILIES

REQUESTS = [f"question {number}" for number in range(7)]
BATCHES = [[0, 1, 2], [3, 4, 5], [6]]


def shout(items: Sequence[int]) -> list[str]:
    return [REQUESTS[item].upper() for item in items]


def test_a_batch_is_made_ready_while_the_one_before_is_answered(tmp_path: Path) -> None:
    made: list[list[int]] = []
    begun = {place: Event() for place in range(3)}

    def make(items: Sequence[int]) -> list[str]:
        made.append(list(items))
        begun[BATCHES.index(list(items))].set()
        return shout(items)

    def ask(items: Sequence[int]) -> list[str]:
        ready, place = ahead.take(items), BATCHES.index(list(items))
        assert place == 2 or begun[place + 1].wait(60), "the next one waits for this one to be answered"
        return ready

    with one_ahead(make, in_thread=True) as ahead:
        responses = Responses(tmp_path, "task", "asked")
        assert responses.answer(REQUESTS, range(7), 3, ask, ahead.coming) == shout(range(7))
    assert sorted(made) == BATCHES, "each once"


def test_everything_is_made_in_one_thread_that_is_not_the_one_that_answers(tmp_path: Path) -> None:
    """Tokenizers are not made for two at once; the first batch is due while the second is being made."""
    threads = set()
    with one_ahead(lambda items: threads.add(get_ident()) or shout(items), in_thread=True) as ahead:
        Responses(tmp_path, "task", "asked").answer(REQUESTS, range(7), 3, ahead.take, ahead.coming)
    assert len(threads) == 1 and threads != {get_ident()}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_processor_of_its_own_makes_the_same_prompts_and_shares_no_tokenizer(family: str, tmp_path: Path) -> None:
    vlm = FAMILIES[family].load(tmp_path)
    other = with_own_processor(vlm)
    assert other.model is vlm.model and other.processor.tokenizer is not vlm.processor.tokenizer
    questions = [
        Question("What is this?", lambda: (image(0, "red"),)),
        Question("What colour is the square, then?", lambda: ()),
    ]
    (ours,), (theirs,) = (prompts_of(one, questions, 4).encoded for one in (other, vlm))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    other.processor.tokenizer(["a", "a b"], padding=True)
    assert vlm.processor.tokenizer(["a", "a b c"])["input_ids"][0] == vlm.processor.tokenizer("a")["input_ids"]


def test_where_nothing_is_to_be_ready_before_it_is_asked_for_nothing_is(tmp_path: Path) -> None:
    made: list[list[int]] = []
    with one_ahead(lambda items: made.append(list(items)) or shout(items), in_thread=False) as ahead:

        def ask(items: Sequence[int]) -> list[str]:
            assert len(made) == BATCHES.index(list(items))
            return ahead.take(items)

        Responses(tmp_path, "task", "asked").answer(REQUESTS, range(7), 3, ask, ahead.coming)
    assert made == BATCHES


def test_what_is_wrong_with_a_batch_is_told_when_it_is_asked_and_the_answers_before_are_kept(tmp_path: Path) -> None:
    def make(items: Sequence[int]) -> list[str]:
        if 3 in items:
            raise UserError("Item 3 cannot be opened.")
        return shout(items)

    responses = Responses(tmp_path, "task", "asked")
    with pytest.raises(UserError, match=r"^Item 3 cannot be opened\.$"), one_ahead(make, in_thread=True) as ahead:
        responses.answer(REQUESTS, range(7), 3, ahead.take, ahead.coming)
    assert sorted(responses.read().values()) == shout(range(3))


def test_questions_are_answered_the_same_and_a_batch_that_does_not_fit_is_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halves, "clear_device_cache", lambda **_named: None)
    vlm = FAMILIES["llava_vicuna"].load(tmp_path / "model")
    asked = [Question("red circle " * (1 + n % 4), lambda n=n: (image(n, "red"),)) for n in range(7)]
    expected = generate(vlm, asked, 4, [])
    tried: list[int] = []

    def fits_two(*given: object) -> list[Reply]:
        tried.append(len(given[1].conversations))
        if tried[-1] > 2:
            raise torch.OutOfMemoryError
        return answered(*given)

    for answer, sizes in ((answered, []), (fits_two, [3, 1, 2, 3, 1, 2, 1])):
        responses = Responses(tmp_path, f"task{len(sizes)}", "asked")
        many = in_batches(partial(answer, vlm), 3, responses, Batching(True), partial(prompts_of, vlm), ahead=True)
        assert many(asked, 4, []) == expected
        assert tried == sizes
