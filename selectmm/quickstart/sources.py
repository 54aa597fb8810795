"""The pool's sources: which facts are asked how often, and in which format.

Skewed as real pools are. Four redundant sources ask what the base already sees, over and over, and hold two thirds of
the rows; what the benchmarks want (letters, yes/no, whole numbers, "unanswerable", facts out of tables, endings) is
rare. One source is noise as it occurs, one is noise that we put in, and says so in its name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice

import numpy as np
from PIL import Image

from selectmm.quickstart import facts
from selectmm.quickstart.facts import Fact
from selectmm.quickstart.formats import (
    INSUFFICIENT,
    LETTER,
    REASONING,
    SHORT,
    choice,
    ending,
    letter,
    letters,
    openly,
    yes_no,
)
from selectmm.quickstart.item import Item
from selectmm.quickstart.material import Part

Maker = Callable[[Part, np.random.Generator], Iterator[Fact]]


@dataclass(frozen=True)
class Row:
    """A training row: (prompt, answer) turns about one image, or about none."""

    source: str
    turns: tuple[tuple[str, str], ...]
    image: Image.Image | None


def rows(rng: np.random.Generator) -> list[Row]:
    """All rows of the pool, shuffled."""
    found = [
        *_open_rows("easyvqa_shape", {facts.shape: 800}, rng),
        *_open_rows("easyvqa_color", {facts.colour: 780}, rng),
        *_open_rows("digits_open", {facts.digit: 600}, rng),
        *_caption_rows(380, rng),
        *_conversation_rows(80, rng),
        *_letter_rows("choice_shapes", {facts.shape: 60, facts.colour: 80}, rng),
        *_letter_rows("choice_digits", {facts.digit: 100}, rng),
        *_letter_rows("choice_bars", {facts.highest: 80, facts.lowest: 80}, rng),
        *_yes_no_rows({facts.shape: 30, facts.colour: 50, facts.digit: 40, facts.highest: 20, facts.lowest: 20}, rng),
        *_open_rows("numbers", {facts.number: 60, facts.lowest: 60}, rng),
        *_insufficient_rows({facts.empty: 60, facts.shape: 15, facts.colour: 15, facts.digit: 20}, rng),
        *_reasoning_rows({facts.lowest: 40, facts.side: 20, facts.number: 20}, rng),
        *_letter_rows(
            "choice_tables", {facts.season: 30, facts.warmth: 30, facts.cylinders: 20, facts.origin: 20}, rng
        ),
        *_exam_rows({facts.season: 30, facts.warmth: 30, facts.cylinders: 20, facts.origin: 20}, rng),
        *_step_rows({facts.month: 60, facts.cylinders: 20}, rng),
        *_ending_rows({facts.warmth: 40, facts.season: 30, facts.origin: 30}, rng),
        *_open_rows("weather_noise", {facts.sky: 100}, rng),
        *_injected_rows(180, rng),
    ]
    return [found[i] for i in rng.permutation(len(found))]


def open_prompt(item: Item) -> str:
    """LLaVA's wording of a short-answer question."""
    return item.question + SHORT


def letter_prompt(item: Item) -> str:
    """LLaVA's wording of a multiple-choice question."""
    return f"{item.question}\n{letters(item)}{LETTER}"


def _open_rows(source: str, shares: dict[Maker, int], rng: np.random.Generator) -> list[Row]:
    return [Row(source, ((f.question + SHORT, f.answer),), f.image) for f in _facts(shares, rng)]


def _caption_rows(count: int, rng: np.random.Generator) -> list[Row]:
    made = _facts({facts.caption: count}, rng)
    return [Row("captions_templated", ((f.question, f.answer),), f.image) for f in made]


def _conversation_rows(count: int, rng: np.random.Generator) -> list[Row]:
    """Two turns about one image: its colour, and a check of the shape."""
    same = int(rng.integers(2**31))  # both makers then go through the images in one order
    shapes, colours = (make("pool", np.random.default_rng(same)) for make in (facts.shape, facts.colour))
    found = []
    for shape, colour in islice(zip(shapes, colours, strict=True), count):
        check = yes_no(shape, rng, bool(rng.integers(2)))
        turns = ((colour.question + SHORT, colour.answer), (open_prompt(check), check.answer))
        found.append(Row("conversation", turns, shape.image))
    return found


def _letter_rows(source: str, shares: dict[Maker, int], rng: np.random.Generator) -> list[Row]:
    items = [choice(f, rng) for f in _facts(shares, rng)]
    return [Row(source, ((letter_prompt(i), letter(i)),), i.image) for i in items]


def _yes_no_rows(shares: dict[Maker, int], rng: np.random.Generator) -> list[Row]:
    made = [yes_no(f, rng, bool(n % 2)) for n, f in enumerate(_facts(shares, rng))]
    return [Row("yesno", ((open_prompt(i), i.answer),), i.image) for i in made]


def _insufficient_rows(shares: dict[Maker, int], rng: np.random.Generator) -> list[Row]:
    """Under VizWiz's prompt, which allows "unanswerable": half of the pictures are empty."""
    made = _facts(shares, rng)
    return [Row("insufficient", ((f.question + INSUFFICIENT + SHORT, f.answer),), f.image) for f in made]


def _reasoning_rows(shares: dict[Maker, int], rng: np.random.Generator) -> list[Row]:
    """Under MM-Vet's prompt; the answer stays short."""
    return [Row("reasoning", ((REASONING + f.question, f.answer),), f.image) for f in _facts(shares, rng)]


def _exam_rows(shares: dict[Maker, int], rng: np.random.Generator) -> list[Row]:
    """Choices as MMLU prints them."""
    items = [choice(f, rng) for f in _facts(shares, rng)]
    return [Row("choice_exam", ((f"{i.question}\n{letters(i)}\nAnswer:", letter(i)),), i.image) for i in items]


def _step_rows(shares: dict[Maker, int], rng: np.random.Generator) -> list[Row]:
    """Choices among up to ten, answered in the sentence that MMLU-Pro's extractor looks for."""
    items = [choice(f, rng, most=10) for f in _facts(shares, rng)]
    asked = [f"Question:\n{i.question}\nOptions:\n{letters(i)}\nAnswer: Let's think step by step." for i in items]
    return [
        Row("choice_steps", ((q, f"The answer is ({letter(i)})."),), i.image) for q, i in zip(asked, items, strict=True)
    ]


def _ending_rows(shares: dict[Maker, int], rng: np.random.Generator) -> list[Row]:
    """A beginning under its heading, as HellaSwag's task puts it, and how it ends."""
    items = [ending(f) for f in _facts(shares, rng)]
    return [Row("endings", ((f"{i.kind.capitalize()}: {i.question}", i.answer),), i.image) for i in items]


def _injected_rows(count: int, rng: np.random.Generator) -> list[Row]:
    """Real questions with another row's answer: noise that we injected."""
    made = _facts({facts.shape: count // 3, facts.colour: count // 3, facts.digit: count - 2 * (count // 3)}, rng)
    items = [openly(f) for f in made]
    wrong = [rng.choice([a for a in f.answers if a != f.answer]).item() for f in made]
    return [Row("noise_injected", ((open_prompt(i), a),), i.image) for i, a in zip(items, wrong, strict=True)]


def _facts(shares: dict[Maker, int], rng: np.random.Generator) -> list[Fact]:
    """So many facts of each kind; material that ends is asked again, drawn anew."""
    return [f for make, count in shares.items() for f in islice(_endless(make, rng), count)]


def _endless(make: Maker, rng: np.random.Generator) -> Iterator[Fact]:
    return chain.from_iterable(make("pool", rng) for _ in cycle([0]))
