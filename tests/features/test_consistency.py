"""DICS' ratios and PreSel's loss without questions, against one row at a time as Hugging Face computes it."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from selectmm.features.consistency import ASK, LIGHT_WORDS, Consistency, _words, turned
from selectmm.features.feature import NO_ANSWER
from selectmm.features.unasked import UnaskedLoss
from selectmm.models.encode import IGNORED, Conversation
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from tests.features.material import TALKS, UNANSWERED, Row, seen

TEXT_ONLY = 1
LIMIT = 512


@torch.no_grad()
def losses(vlm: VLM, talk: Conversation, light: float, mean: str) -> list[float]:
    """Of each turn: words are told apart in the text that its tokens decode to."""
    row = Row.of(vlm, talk)
    logits = vlm.model(**row.inputs).logits[0, :-1].double()
    labels, made, turns = row.labels[1:].tolist(), [], []
    for at, label in enumerate(labels):
        if label != IGNORED and (at == 0 or labels[at - 1] == IGNORED):
            turns.append([])
        if label != IGNORED:
            turns[-1].append(at)
    for turn in turns:
        each = cross_entropy(logits[turn], row.labels[1:][turn], reduction="none").tolist()
        weights = by_hand(vlm, [labels[at] for at in turn], light)
        over = sum(weights) if mean == "weights" else len(weights)
        made.append(sum(w * loss for w, loss in zip(weights, each, strict=True)) / over)
    return made


def by_hand(vlm: VLM, ids: Sequence[int], light: float) -> list[float]:
    """Each token's weight by the word of the decoded turn that it lies in."""
    tokenizer = vlm.processor.tokenizer
    text, ends = "", []
    for number in range(len(ids)):
        text = tokenizer.decode(ids[: number + 1])
        ends.append(len(text))
    special = set(tokenizer.all_special_ids)
    weights = []
    for number, id in enumerate(ids):
        begin = ends[number - 1] if number else 0
        inside = text[begin : ends[number]].strip()
        left, right = begin, ends[number]
        while left > 0 and text[left - 1].isalnum() and text[left : left + 1].isalnum():
            left -= 1
        while right < len(text) and text[right].isalnum() and text[right - 1].isalnum():
            right += 1
        word = text[left:right].strip().lower()
        function = word in LIGHT_WORDS or (inside and not any(c.isalnum() for c in inside))
        weights.append(light if function and id not in special else 1.0)
    return weights


def ratio(one: list[float], other: list[float]) -> float:
    return sum(math.exp(a - b) for a, b in zip(one, other, strict=True)) / len(one)


@pytest.mark.parametrize(("light", "mean"), [(0.1, "weights"), (0.1, "tokens"), (1.0, "weights")])
def test_the_ratios_are_those_of_one_row_at_a_time(vlm: VLM, light: float, mean: str) -> None:
    feature = Consistency(light, mean)
    with torch.no_grad():
        found = feature.compute(seen(vlm, feature, limit=LIMIT))
    for number, talk in enumerate(TALKS):
        if number == TEXT_ONLY:
            assert found[number].tolist() == [1, 1]
            continue
        asked = [turn.text for turn in talk.turns[::2]]
        said = [turn.text for turn in talk.turns[1::2]]
        knowing = "Based on the image and answer, what is the likely question? Answer: "
        guess = [t for q in asked for t in (Turn("user", ASK), Turn("assistant", q))]
        known = [t for q, a in zip(asked, said, strict=True) for t in (Turn("user", knowing + a), Turn("assistant", q))]
        parts = [talk, replace(talk, images=()), replace(talk, turns=tuple(guess)), replace(talk, turns=tuple(known))]
        whole, blind, guessed, answered = (losses(vlm, part, light, mean) for part in parts)
        assert found[number].tolist() == pytest.approx([ratio(blind, whole), ratio(guessed, answered)], rel=1e-4)


def test_a_row_without_an_answer_says_nothing_of_its_image(vlm: VLM) -> None:
    feature = Consistency()
    with torch.no_grad():
        assert feature.compute(seen(vlm, feature))[UNANSWERED, 0] == 1


def test_a_conversation_is_turned_round() -> None:
    talk = Conversation((Turn("user", "How?"), Turn("assistant", "So {}."), Turn("user", "Left over")))
    found = turned(talk, "Answer: {}").turns
    assert found == (Turn("user", "Answer: So {}."), Turn("assistant", "How?"))
    assert turned(talk, ASK).turns[0].text == ASK


def test_words_are_put_together_from_their_tokens() -> None:
    pieces = ["The", "Ġsq", "uare", ",", "Ġis", "n", "'", "t", "</s>", "▁to"]
    assert _words(pieces, [0] * 10, {"</s>"}) == [(0, 1), (1, 3), (3, 4), (4, 6), (6, 7), (7, 8), (8, 9), (9, 10)]
    assert _words(["to", "day"], [0, 1], set()) == [(0, 1), (1, 2)], "another row, or turn, begins"


@torch.no_grad()
def test_without_questions_the_answers_are_one_turn_after_the_image(vlm: VLM) -> None:
    expected = []
    for talk in TALKS:
        said = " ".join(turn.text for turn in talk.turns if turn.role == "assistant")
        row = Row.of(vlm, replace(talk, turns=(Turn("user", ""), Turn("assistant", said))))
        expected.append(vlm.model(**row.inputs, labels=row.labels[None]).loss.item())
    found = UnaskedLoss().compute(seen(vlm, UnaskedLoss(), limit=LIMIT))
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    untrained = Conversation((Turn("user", "Hm?"), Turn("assistant", "no", trained=False)), TALKS[0].images)
    both = seen(vlm, UnaskedLoss(), talks=[untrained, TALKS[0]], limit=LIMIT)
    assert UnaskedLoss().compute(both).tolist() == pytest.approx([NO_ANSWER, expected[0]], rel=1e-5)
