"""The held-out items of the eleven mini-benchmarks, each in the spirit of the real one.

Every image and table row is of the ``held`` part. Answers are balanced within a skill, so that guessing blind stays
near chance.
"""

from itertools import islice

import numpy as np

from selectmm.quickstart import facts
from selectmm.quickstart.formats import balanced, choice, ending, openly, yes_no
from selectmm.quickstart.item import Item
from selectmm.quickstart.material import Part
from selectmm.quickstart.sources import Maker

SEED = 2026

# MME's own names of its subtasks, and the skill that stands in for each.
MME = {
    facts.shape: "existence",
    facts.colour: "color",
    facts.side: "position",
    facts.digit: "OCR",
    facts.highest: "numerical_calculation",
    facts.lowest: "commonsense_reasoning",
}


def held_out(times: int = 1) -> dict[str, list[Item]]:
    """The items of each mini-benchmark, 60 to 100 each, or ``times`` as many; the same on every machine.

    Text questions about days and cars end with the tables' rows: at most 110 of each kind.
    """
    return drawn("held", SEED, times)


def drawn(part: Part, seed: int, times: int = 1) -> dict[str, list[Item]]:
    """Items of each mini-benchmark out of one part of the material.

    For ``mme`` items 2k and 2k + 1 ask about one image, the first to be answered yes, the second no; their ``kind`` is
    MME's category.
    """
    rng = np.random.default_rng(seed)

    def many(shares: dict[Maker, int]) -> dict[Maker, int]:
        """Items of each kind, ``times`` as many."""
        return {make: times * count for make, count in shares.items()}

    return {
        "sqa": _choices(
            part, many({facts.shape: 15, facts.digit: 15, facts.season: 20, facts.warmth: 15, facts.cylinders: 15}), rng
        ),
        "sqa_img": _choices(part, many({facts.shape: 20, facts.colour: 20, facts.digit: 20, facts.highest: 20}), rng),
        "vizwiz": _open(
            part, many({facts.empty: 25, facts.number: 5, facts.colour: 15, facts.shape: 15, facts.digit: 20}), rng
        ),
        "pope": _yes_no(part, many({facts.shape: 50, facts.side: 30}), rng),
        "mmvet": _open(part, many({facts.lowest: 40, facts.side: 20, facts.number: 20}), rng),
        "mmbench": _choices(part, many({facts.colour: 25, facts.digit: 20, facts.lowest: 20, facts.shape: 15}), rng),
        "mme": _pairs(part, 8 * times, rng),
        "mmmu": _choices(part, many({facts.highest: 30, facts.lowest: 30, facts.digit: 20}), rng),
        "hellaswag": _endings(part, many({facts.warmth: 35, facts.season: 35, facts.origin: 30}), rng),
        "mmlu": _choices(part, many({facts.season: 30, facts.warmth: 30, facts.cylinders: 20, facts.origin: 20}), rng),
        "mmlu_pro": _choices(part, many({facts.month: 70, facts.cylinders: 15, facts.season: 15}), rng, most=10),
    }


def _open(part: Part, shares: dict[Maker, int], rng: np.random.Generator) -> list[Item]:
    return _mixed([openly(f) for make, count in shares.items() for f in balanced(make(part, rng), count)], rng)


def _choices(part: Part, shares: dict[Maker, int], rng: np.random.Generator, most: int = 4) -> list[Item]:
    found = [choice(f, rng, most) for make, count in shares.items() for f in balanced(make(part, rng), count)]
    return _mixed(found, rng)


def _yes_no(part: Part, shares: dict[Maker, int], rng: np.random.Generator) -> list[Item]:
    """Half the answers of every skill are yes."""
    made = [f for make, count in shares.items() for f in balanced(make(part, rng), count)]
    return _mixed([yes_no(f, rng, bool(n % 2)) for n, f in enumerate(made)], rng)


def _pairs(part: Part, images: int, rng: np.random.Generator) -> list[Item]:
    """Per category so many images, each asked twice."""
    found = []
    for make, category in MME.items():
        for fact in islice(make(part, rng), images):
            for truth in (True, False):
                item = yes_no(fact, rng, truth)
                found.append(Item(category, item.question, item.answer, (), item.image))
    return found


def _endings(part: Part, shares: dict[Maker, int], rng: np.random.Generator) -> list[Item]:
    return _mixed([ending(f) for make, count in shares.items() for f in balanced(make(part, rng), count)], rng)


def _mixed(items: list[Item], rng: np.random.Generator) -> list[Item]:
    return [items[i] for i in rng.permutation(len(items))]
