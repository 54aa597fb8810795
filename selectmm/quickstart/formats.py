"""The ways of asking a fact: openly, by letter, by yes/no; and LLaVA-1.5's wording of each."""

from collections.abc import Iterator
from itertools import islice, zip_longest

import numpy as np

from selectmm.quickstart.facts import Fact
from selectmm.quickstart.item import Item

# The format prompts of LLaVA-1.5 (Improved Baselines with Visual Instruction Tuning, section 3.2 and table 7).
SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
INSUFFICIENT = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."
# lmms-eval's prompt in front of MM-Vet's questions.
REASONING = (
    "First please perform reasoning, and think step by step to provide best answer to the following question: \n\n"
)


def openly(fact: Fact) -> Item:
    """The question as it is."""
    return Item(fact.kind, fact.question, fact.answer, (), fact.image)


def choice(fact: Fact, rng: np.random.Generator, most: int = 4) -> Item:
    """At most ``most`` options that hold the answer, in their natural order, as tables and calendars list them."""
    others = [a for a in fact.answers if a != fact.answer]
    kept = {others[i] for i in rng.permutation(len(others))[: most - 1]} | {fact.answer}
    options = tuple(a for a in fact.answers if a in kept)
    return Item(fact.kind, fact.question, fact.answer, options, fact.image)


def yes_no(fact: Fact, rng: np.random.Generator, truth: bool) -> Item:
    """Ask for the answer itself (yes) or for another possible answer (no)."""
    others = [a for a in fact.answers if a != fact.answer]
    candidate = fact.answer if truth else others[rng.integers(len(others))]
    return Item(fact.kind, fact.check.format(candidate), "yes" if truth else "no", (), fact.image)


def ending(fact: Fact) -> Item:
    """The beginning of a text and four ways to end it."""
    beginning, end = fact.sentence.split("|")
    options = tuple(end.format(answer) for answer in fact.answers)
    return Item(fact.kind, beginning, end.format(fact.answer), options, fact.image)


def balanced(facts: Iterator[Fact], count: int) -> list[Fact]:
    """Draw ``count`` facts that give each answer in turn, as long as the material has it: a blind guess is near chance.

    Facts without a fixed set of answers are taken as they come.
    """
    by_answer: dict[str, list[Fact]] = {}
    for fact in islice(facts, 8 * count):
        by_answer.setdefault(fact.answer if fact.answers else "", []).append(fact)
    return [fact for turn in zip_longest(*by_answer.values()) for fact in turn if fact is not None][:count]


def letters(item: Item) -> str:
    """The options as lines: ``A. circle``."""
    return "\n".join(f"{chr(65 + i)}. {option}" for i, option in enumerate(item.options))


def letter(item: Item) -> str:
    """The letter of the right option."""
    return chr(65 + item.options.index(item.answer))
