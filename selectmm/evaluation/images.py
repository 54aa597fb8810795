"""Which image a question is shown with: its own, none, or another item's."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from selectmm.errors import UserError
from selectmm.evaluation.generate import Question
from selectmm.evaluation.suite import Images
from selectmm.pool.clip import Clip


def derangement(groups: Sequence[object], rng: np.random.Generator) -> list[int]:
    """Give each item the index of an item of another group; every item's picture is used exactly once.

    Items of a group show the same picture. They are laid side by side, the groups in random order, and everything is
    turned by the size of the largest group: nobody meets his own group again.

    Raises:
        UserError: more than half of the items are of one group, so that no such exchange exists.
    """
    members: dict[object, list[int]] = {}
    for item, group in enumerate(groups):
        members.setdefault(group, []).append(item)
    largest = max(map(len, members.values()), default=0)
    if 2 * largest > len(groups):
        raise UserError(
            f"Images cannot be shuffled: {largest} of {len(groups)} items show the same image; use more items."
        )
    names = list(members)
    line = [item for index in rng.permutation(len(names)) for item in members[names[index]]]
    given = [0] * len(line)
    for place, item in enumerate(line):
        given[item] = line[(place + largest) % len(line)]
    return given


def content(images: Sequence[Image.Image | Clip]) -> tuple[object, ...]:
    """What makes pictures the same: their sizes and pixels; of clips, their files' bytes."""
    return tuple(
        hash(one.file.read_bytes()) if isinstance(one, Clip) else (one.size, hash(one.tobytes())) for one in images
    )


def as_shown(questions: Sequence[Question], images: Images, rng: np.random.Generator) -> list[Question]:
    """The same questions with their own images, none, or another question's (those without one stay without).

    Raises:
        UserError: the images cannot be shuffled, see `derangement`.
    """
    if images == "shown":
        return list(questions)
    if images == "blind":
        return [replace(question, images=tuple) for question in questions]
    contents = [content(question.images()) for question in questions]
    holders = [index for index, pixels in enumerate(contents) if pixels]
    given = derangement([contents[index] for index in holders], rng)
    shown = list(questions)
    for index, other in zip(holders, given, strict=True):
        shown[index] = replace(questions[index], images=questions[holders[other]].images)
    return shown
