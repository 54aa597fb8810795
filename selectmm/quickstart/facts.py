"""What can be asked: facts about real images and table rows, each with the vocabulary its answer comes from.

A fact has one true answer and a natural order of all possible answers; `formats` turns it into an open question, a
choice by letter or a yes/no question. Every function yields facts about one part of the material, in random order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from selectmm.quickstart import material, pictures
from selectmm.quickstart.material import COLOURS, SHAPES, Part

PLACES = ("left", "middle", "right")
ORIGINS = ("Africa", "Europe", "Japan", "USA")
SEASONS = ("Winter", "Spring", "Summer", "Autumn")
_HALF = ("January", "February", "March", "April", "May", "June")
MONTHS = (*_HALF, "July", "August", "September", "October", "November", "December")
WARMTH = ("cold", "cool", "mild", "hot")


@dataclass(frozen=True)
class Fact:
    """One question with its answer.

    ``answers`` is every possible answer in natural order (empty where there is no fixed set); ``check`` asks whether a
    candidate is the answer, with ``{}`` for the candidate; ``sentence`` is a beginning, ``|`` and an end that states
    the answer in place of ``{}`` (empty where there is none).
    """

    kind: str
    question: str
    answer: str
    answers: tuple[str, ...]
    check: str
    sentence: str
    image: Image.Image | None


def shape(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """Which shape an easy-VQA picture shows."""
    for one in _shuffled(material.drawn(part), rng):
        yield Fact(
            "shape", "What shape is in the image?", one.shape, SHAPES, "Is there a {} in the image?", "", one.image
        )


def colour(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """Which colour its shape has."""
    for one in _shuffled(material.drawn(part), rng):
        yield Fact("colour", "What color is the shape?", one.colour, COLOURS, "Is the shape {}?", "", one.image)


def caption(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """A templated sentence on the whole image."""
    for one in _shuffled(material.drawn(part), rng):
        answer = f"A {one.colour} {one.shape} on a plain background."
        yield Fact("caption", "Describe the image.", answer, (), "", "", one.image)


def digit(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """Which digit is drawn."""
    names = tuple(str(n) for n in range(10))
    for ink, label in _shuffled(material.digits(part), rng):
        picture = pictures.digit(ink, rng)
        yield Fact("digit", "Which digit is written?", str(label), names, "Is this the digit {}?", "", picture)


def number(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """Two or three real digits side by side; without end."""
    inks = material.digits(part)
    while True:
        chosen = [inks[i] for i in rng.integers(0, len(inks), rng.integers(2, 4))]
        if chosen[0][1] == 0:
            continue
        answer = "".join(str(label) for _, label in chosen)
        picture = pictures.number([ink for ink, _ in chosen])
        yield Fact("number", "What number is written?", answer, (), "Is the number {} written?", "", picture)


def highest(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """Which bar of a chart is the highest."""
    yield from _bars(part, rng, "highest", np.argmax)


def lowest(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """Which bar of a chart is the lowest."""
    yield from _bars(part, rng, "lowest", np.argmin)


def _bars(
    part: Part, rng: np.random.Generator, word: str, pick: Callable[[Sequence[float]], np.intp]
) -> Iterator[Fact]:
    for three in _shuffled(material.heights(part), rng):
        three = [three[i] for i in rng.permutation(3)]
        question, check = f"Which bar is the {word}?", f"Is the {{}} bar the {word}?"
        yield Fact(word, question, PLACES[pick(three)], PLACES, check, "", pictures.bars(three, rng))


def side(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """Two different easy-VQA shapes side by side: which is on the left, or on the right."""
    yield from _pairs(part, rng, "shape")


def side_colour(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """A question as in `side`, asking for a colour."""
    yield from _pairs(part, rng, "colour")


def _pairs(part: Part, rng: np.random.Generator, asked: str) -> Iterator[Fact]:
    ones = _shuffled(material.drawn(part), rng)
    for left, right in zip(ones[::2], ones[1::2], strict=False):
        if left.shape == right.shape or left.colour == right.colour:
            continue
        where = int(rng.integers(2))
        one, place, picture = (left, right)[where], ("left", "right")[where], pictures.pair(left.image, right.image)
        if asked == "shape":
            question, check = f"What shape is on the {place}?", f"Is there a {{}} on the {place}?"
            yield Fact("side", question, one.shape, SHAPES, check, "", picture)
        else:
            question, check = f"What color is the shape on the {place}?", f"Is the shape on the {place} {{}}?"
            yield Fact("side_colour", question, one.colour, COLOURS, check, "", picture)


def empty(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """A question that the picture cannot answer; without end. Parts differ because their random numbers do."""
    questions = ("What shape is in the image?", "What color is the shape?", "Which digit is written?")
    while True:
        question = questions[rng.integers(len(questions))]
        yield Fact("empty", question, "unanswerable", (), "", "", pictures.empty(rng))


def origin(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """Where a car of the table was built."""
    for row in _shuffled(material.cars(part), rng):
        name = row["Name"]
        yield Fact(
            "origin",
            f"Where was the car {name} made?",
            row["Origin"],
            ORIGINS,
            f"Was the car {name} made in {{}}?",
            f"The {name} is a car of {row['Year'][:4]}.|It was made in {{}}.",
            None,
        )


def cylinders(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """How many cylinders a car of the table has."""
    for row in _shuffled(material.engines(part), rng):
        size = f"An engine of {row['Displacement']:g} cubic inches has {row['Horsepower']} horsepower."
        question, check = f"{size} How many cylinders does it have?", f"{size} Does it have {{}} cylinders?"
        said = f"{size}|It has {{}} cylinders."
        yield Fact("cylinders", question, str(row["Cylinders"]), ("2", "4", "6", "8"), check, said, None)


def season(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """Which season a day of the weather table falls into."""
    for row in _shuffled(tuple({_day(row): row for row in material.weather(part)}.values()), rng):
        month, day = int(row["date"][5:7]), _day(row)
        answer = SEASONS[month % 12 // 3]
        said = f"There is a day, {day}.|The season is {{}}."
        yield Fact("season", f"In which season is {day}?", answer, SEASONS, f"Is {day} in {{}}?", said, None)


def month(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """The first ten months only, as many as there are letters for options."""
    for row in _shuffled(material.weather(part), rng):
        number = int(row["date"][5:7])
        if number <= 10:
            question = f"In which month is the date {row['date']}?"
            yield Fact("month", question, MONTHS[number - 1], MONTHS[:10], "", "", None)


def warmth(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """How warm a day of the weather table was."""
    for row in _shuffled(material.weather(part), rng):
        degrees = float(row["temp_max"])
        answer = WARMTH[sum(degrees >= limit for limit in (8, 15, 22))]
        said = f"{_day(row)} reached {degrees:.0f} degrees in Seattle."
        question = f"{said} What kind of day was it?"
        check, sentence = f"{said} Was it a {{}} day?", f"{said}|It was a {{}} day."
        yield Fact("warmth", question, answer, WARMTH, check, sentence, None)


def sky(part: Part, rng: np.random.Generator) -> Iterator[Fact]:
    """Real weather labels, which the date hardly tells: noise as it occurs in nature."""
    for row in _shuffled(material.weather(part), rng):
        yield Fact("sky", f"What was the weather in Seattle on {row['date']}?", row["weather"], (), "", "", None)


def _day(row: dict[str, str]) -> str:
    return f"{MONTHS[int(row['date'][5:7]) - 1]} {int(row['date'][8:10])}"


def _shuffled(rows: tuple, rng: np.random.Generator) -> list:
    return [rows[i] for i in rng.permutation(len(rows))]
