"""Which image or clip of a bad row cannot be opened, and why."""

from typing import NamedTuple

from selectmm.errors import UserError
from selectmm.pool.bad import excerpt
from selectmm.pool.image import Broken
from selectmm.pool.pool import Pool


class BadImage(NamedTuple):
    """An image or a clip that cannot be opened.

    Attributes:
        path: as its row names it. why: the reason, for a sentence.
    """

    path: str
    why: str


def bad_image(pool: Pool, row: int) -> BadImage | None:
    """The first image or clip of a row that cannot be opened; None if all can. They are decoded for that."""
    for one in pool[row].images:
        try:
            if one.video:
                pool.open_clip(one.path).checked_picture()
            else:
                pool.open_image(one.path).close()
        except UserError as problem:
            return BadImage(one.path, excerpt(problem.why if isinstance(problem, Broken) else problem))
    return None


def named_with_image(pool: Pool, row: int) -> str:
    """A bad row in words, with the image that is missing or broken, if it is one of several."""
    if len(pool[row].images) < 2 or (found := bad_image(pool, row)) is None:
        return pool.named_with_images(row)
    return f"{pool.named(row)}, {excerpt(found.path)}"
