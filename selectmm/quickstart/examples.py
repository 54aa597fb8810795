"""Examples of the mini-benchmarks for methods that choose for a target, in LLaVA's JSON.

They are made like the benchmarks' items, from the part of the material that the base was aligned on, so that no image
and no table row of theirs is in the pool or among the held-out items.
"""

import json
from collections.abc import Callable
from pathlib import Path

from selectmm.quickstart.formats import INSUFFICIENT, REASONING, SHORT, letter, letters
from selectmm.quickstart.item import Item
from selectmm.quickstart.items import drawn
from selectmm.quickstart.pool import entry_of, save_image
from selectmm.quickstart.sources import Row, letter_prompt, open_prompt

SEED = 41
EACH = 20  # examples per benchmark

Wording = Callable[[Item], tuple[str, str]]
"""An item as (prompt, answer), worded as its benchmark's task words it."""


def write(folder: Path) -> Path:
    """Write ``folder/targets.json`` and ``folder/images``; the source of a row is its benchmark's name."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rows = [
        Row(NAMES[benchmark], (_WORDINGS.get(benchmark, _by_letter)(item),), item.image)
        for benchmark, items in drawn("align", SEED).items()
        for item in items[:EACH]
    ]
    entries = [entry_of(number, row, save_image(row, images)) for number, row in enumerate(rows)]
    path = folder / "targets.json"
    path.write_text(json.dumps(entries, indent=0, ensure_ascii=False))
    return path


NAMES = {
    "sqa": "mini-SQA",
    "sqa_img": "mini-SQA-IMG",
    "vizwiz": "mini-VizWiz",
    "pope": "mini-POPE",
    "mmvet": "mini-MM-Vet",
    "mmbench": "mini-MMBench",
    "mme": "mini-MME",
    "mmmu": "mini-MMMU",
    "hellaswag": "mini-HellaSwag",
    "mmlu": "mini-MMLU",
    "mmlu_pro": "mini-MMLU-Pro",
}


def _by_letter(item: Item) -> tuple[str, str]:
    return letter_prompt(item), letter(item)


def _in_words(item: Item) -> tuple[str, str]:
    return open_prompt(item), item.answer


def _or_unanswerable(item: Item) -> tuple[str, str]:
    return item.question + INSUFFICIENT + SHORT, item.answer


def _reasoned(item: Item) -> tuple[str, str]:
    return REASONING + item.question, item.answer


def _continued(item: Item) -> tuple[str, str]:
    return f"{item.kind.capitalize()}: {item.question}", item.answer


def _examined(item: Item) -> tuple[str, str]:
    return f"{item.question}\n{letters(item)}\nAnswer:", letter(item)


def _stepwise(item: Item) -> tuple[str, str]:
    asked = f"Question:\n{item.question}\nOptions:\n{letters(item)}\nAnswer: Let's think step by step."
    return asked, f"The answer is ({letter(item)})."


_WORDINGS: dict[str, Wording] = {
    "vizwiz": _or_unanswerable,
    "pope": _in_words,
    "mme": _in_words,
    "mmvet": _reasoned,
    "hellaswag": _continued,
    "mmlu": _examined,
    "mmlu_pro": _stepwise,
}
