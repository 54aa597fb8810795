"""The raw material: real rows and images out of installed packages, cut into three parts that share nothing.

``align`` rows teach the base to see, ``pool`` rows are what a method chooses from, ``held`` rows are asked at the end.
An image or a table row is in exactly one part. All of it is read from local files, in the same order everywhere.
"""

import csv
import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from selectmm.errors import UserError

Part = Literal["align", "pool", "held"]

SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")


@dataclass(frozen=True)
class Drawn:
    """An easy-VQA image (64 × 64, rendered by its authors) with what its own questions say of it."""

    image: Image.Image
    shape: str
    colour: str


@cache
def drawn(part: Part) -> tuple[Drawn, ...]:
    """The easy-VQA images whose questions give away both shape and colour; the held ones are its test split."""
    split = "test" if part == "held" else "train"
    folder = _package("easy_vqa") / "data" / split
    facts: dict[int, dict[str, str]] = {}
    for question, answer, image in json.loads((folder / "questions.json").read_text()):
        facts.setdefault(image, {}).update(_fact(question, answer))
    wanted = {"align": range(0, 2200), "pool": range(2200, 4000), "held": range(1000)}[part]
    full = [number for number in wanted if len(facts.get(number, {})) == 2]
    return tuple(Drawn(_open(folder / "images" / f"{n}.png"), facts[n]["shape"], facts[n]["colour"]) for n in full)


def _fact(question: str, answer: str) -> dict[str, str]:
    """What one question and its answer say for certain: the answer itself, or what a yes/no question affirms."""
    negated = " not " in question or " no " in question
    words = {answer} if answer not in ("yes", "no") else set()
    if (answer == "yes") != negated and not words:
        words = set(question.rstrip("?").split())
    return {kind: word for kind, known in (("shape", SHAPES), ("colour", COLOURS)) for word in known if word in words}


@cache
def digits(part: Part) -> tuple[tuple[np.ndarray, int], ...]:
    """Real handwritten digits (scikit-learn's ``load_digits``): ink [8, 8] in 0..16, and the digit."""
    from sklearn.datasets import load_digits  # slow to import, and only the digits need it

    images, labels = load_digits(return_X_y=True)
    wanted = {"align": slice(0, 900), "pool": slice(900, 1400), "held": slice(1400, None)}[part]
    return tuple((ink.reshape(8, 8), int(label)) for ink, label in zip(images[wanted], labels[wanted], strict=True))


@cache
def cars(part: Part) -> tuple[dict, ...]:
    """One row per car name of cars.json: Name, Origin, Cylinders, Displacement, Horsepower, Year."""
    unique = {row["Name"]: row for row in _table("cars.json") if row["Horsepower"]}
    return _cut(list(unique.values()), part)


@cache
def engines(part: Part) -> tuple[dict, ...]:
    """Rows of cars.json, one per size and power, with 4, 6 or 8 cylinders."""
    rows = [row for row in _table("cars.json") if row["Horsepower"] and row["Cylinders"] in (4, 6, 8)]
    return _cut(list({(row["Displacement"], row["Horsepower"]): row for row in rows}.values()), part)


@cache
def weather(part: Part) -> tuple[dict[str, str], ...]:
    """Days of seattle-weather.csv: date, precipitation, temp_max, temp_min, wind, weather.

    A day of the year is in one part with all its years.
    """
    years: dict[str, list[dict[str, str]]] = {}
    for row in sorted(_table("seattle-weather.csv"), key=lambda row: row["date"][5:]):
        years.setdefault(row["date"][5:], []).append(row)
    return tuple(row for rows in _cut(list(years.values()), part) for row in rows)


@cache
def heights(part: Part) -> tuple[tuple[float, float, float], ...]:
    """Three real numbers to be drawn as bars: yields of barley at one site, prices of stocks, temperatures of days."""
    by_field: dict[tuple, list[float]] = {}
    for row in _table("barley.json"):
        by_field.setdefault((row["site"], row["year"]), []).append(row["yield"])
    for row in _table("stocks.csv"):
        by_field.setdefault((row["date"],), []).append(float(row["price"]))
    days = [float(row["temp_max"]) for row in _table("seattle-weather.csv")]
    found = [tuple(values[i : i + 3]) for values in by_field.values() for i in range(0, len(values) - 2, 3)]
    found += [(days[i], days[i + 120], days[i + 240]) for i in range(0, len(days) - 240)]
    return _cut([three for three in found if _clear(three)], part)


def _clear(three: tuple[float, ...]) -> bool:
    """Bars can be told apart: each step is at least an eighth of the tallest, and none is negative."""
    low, middle, high = sorted(three)
    return low > 0 and min(middle - low, high - middle) > high / 8


def _cut(rows: list, part: Part) -> tuple:
    """Of ten rows in a row four go to ``align``, three to ``pool``, three to ``held``: every part sees every era."""
    wanted = {"align": (0, 3, 6, 9), "pool": (1, 4, 7), "held": (2, 5, 8)}[part]
    return tuple(row for position, row in enumerate(rows) if position % 10 in wanted)


@cache
def _table(name: str) -> list[dict]:
    path = _package("vega_datasets") / "_data" / name
    text = path.read_text()
    return json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None:
        raise UserError(
            f"Package {name.replace('_', '-')} is missing; install requirements.lock, and "
            f"requirements-nodeps.lock with pip --no-deps."
        )
    return Path(spec.origin).parent
