"""Items as rows of the eleven real data sets: one function per schema, given the item's position."""

import io
from itertools import zip_longest
from typing import Any

from selectmm.quickstart.item import Item

LETTERS = "ABCDEFGHIJ"
ANNOTATORS = 10  # of VizWiz; an answer is right to the degree that they gave it

Row = dict[str, Any]


def _png(item: Item) -> dict[str, Any] | None:
    if item.image is None:
        return None
    stream = io.BytesIO()
    item.image.save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def _place(item: Item, least: int = 2, most: int = 4) -> int:
    """The index of the right option."""
    if not least <= len(item.options) <= most or item.options.count(item.answer) != 1:
        raise ValueError(f"{least} to {most} options, one of them the answer, are needed: {item}")
    return item.options.index(item.answer)


def _yes_or_no(item: Item) -> str:
    if item.answer.lower() not in ("yes", "no"):
        raise ValueError(f"the answer must be yes or no: {item}")
    return item.answer


def scienceqa(position: int, item: Item) -> Row:
    """An item in ScienceQA's schema."""
    row = {name: "" for name in ("hint", "task", "grade", "subject", "topic", "category", "skill", "lecture")}
    return {
        **row,
        "image": _png(item),
        "question": item.question,
        "choices": list(item.options),
        "answer": _place(item),
        "skill": item.kind,
        "solution": item.answer,
    }


def vizwiz(position: int, item: Item) -> Row:
    """An item in VizWiz's schema."""
    return {
        "question_id": f"mini_{position:08d}",
        "image": _png(item),
        "question": item.question,
        "answers": [item.answer] * ANNOTATORS,
        "category": item.kind,
    }


def pope(position: int, item: Item) -> Row:
    """An item in POPE's schema."""
    return {
        "id": str(position),
        "question_id": str(position + 1),
        "question": item.question,
        "answer": _yes_or_no(item),
        "image_source": f"mini_{position:08d}",
        "image": _png(item),
        "category": "random",
    }


def mmvet(position: int, item: Item) -> Row:
    """An item in MM-Vet's schema."""
    return {
        "question_id": f"v1_{position}",
        "image_source": item.kind,
        "image": _png(item),
        "question": item.question,
        "answer": item.answer,
        "capability": "rec",
    }


def mmbench(position: int, item: Item) -> Row:
    """An item in MMBench's schema."""
    letters = {letter: option or "nan" for letter, option in zip_longest("ABCD", item.options)}  # as the real one
    return {
        **letters,
        "index": position,
        "question": item.question,
        "hint": "nan",
        "answer": LETTERS[_place(item)],
        "category": item.kind,
        "image": _png(item),
        "source": "mini",
        "L2-category": item.kind,
        "comment": "nan",
        "split": "dev",
    }


def mme(position: int, item: Item) -> Row:
    """An item in MME's schema."""
    return {
        "question_id": f"{item.kind}/{position // 2:04d}.png",
        "image": _png(item),
        "question": f"{item.question} Please answer yes or no.",
        "answer": _yes_or_no(item).capitalize(),
        "category": item.kind,
    }


def mmmu(position: int, item: Item) -> Row:
    """An item in MMMU's schema."""
    images = {f"image_{number}": None for number in range(1, 8)}
    return {
        **images,
        "id": f"validation_{item.kind.title().replace(' ', '_')}_{position + 1}",
        "question": f"<image 1> {item.question}",
        "options": str(list(item.options)),  # text in the real data too
        "explanation": "",
        "image_1": _png(item),
        "img_type": "[]",
        "answer": LETTERS[_place(item)],
        "topic_difficulty": "Easy",
        "question_type": "multiple-choice",
        "subfield": item.kind,
    }


def hellaswag(position: int, item: Item) -> Row:
    """An item in HellaSwag's schema."""
    return {
        "ind": position,
        "activity_label": item.kind.capitalize(),
        "ctx_a": item.question,
        "ctx_b": "",
        "ctx": item.question,
        "endings": list(item.options),
        "source_id": f"mini~{position}",
        "split": "val",
        "split_type": "indomain",
        "label": str(_place(item)),
    }


def mmlu(position: int, item: Item) -> Row:
    """An item in MMLU's schema."""
    place = _place(item, least=4)
    return {"question": item.question, "subject": item.kind, "choices": list(item.options), "answer": place}


def mmlu_pro(position: int, item: Item) -> Row:
    """An item in MMLU-Pro's schema."""
    place = _place(item, most=len(LETTERS))
    return {
        "question_id": position,
        "question": item.question,
        "options": list(item.options),
        "answer": LETTERS[place],
        "answer_index": place,
        "cot_content": "",
        "category": item.kind,
        "src": "mini",
    }
