"""What a JSON file from elsewhere may hold: text that can be shown, and numbers that can be computed with."""

from collections.abc import Iterator
from math import isfinite

from selectmm.cache.reading import Mismatch, named
from selectmm.printable import printable, showable

LARGEST = 2**64  # of a whole number: the range of a seed
LONGEST = 100_000  # characters of one text
DEEPEST = 32  # levels of lists and objects


def check_content(content: object) -> None:
    """Parsed JSON holds only text that can be shown, and numbers that can be computed with.

    Python reads NaN, Infinity, 1e999, numbers of thousands of digits and lone surrogates as JSON too.

    Raises:
        Mismatch: naming the first value that is not so.
    """
    for where, value in _leaves(content, "", 0):
        if isinstance(value, str):
            _check_text(value, where)
        elif isinstance(value, float) and not isfinite(value):
            raise Mismatch(f"field '{where}' is {value}, which no measurement can give")
        elif isinstance(value, int) and abs(value) >= LARGEST:
            raise Mismatch(f"field '{where}' is a number of {len(str(abs(value)))} digits, too many for a count")


def _check_text(text: str, where: str) -> None:
    if len(text) > LONGEST:
        raise Mismatch(f"field '{where}' is a text of {len(text):,} characters; at most {LONGEST:,} are read")
    if not text.isprintable() and (strange := next((c for c in text if not showable(c)), None)):
        raise Mismatch(f"field '{where}' holds the character {strange!a}, which is not printable text")


def shown(content: object) -> object:
    """The same JSON with every text such as `check_content` lets pass: what is not showable is written as an escape.

    The middle of a text that is too long is left out.
    """
    if isinstance(content, dict):
        return {_shown(str(key)): shown(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [shown(value) for value in content]
    return _shown(content) if isinstance(content, str) else content


def _shown(text: str) -> str:
    text = printable(text)
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[: half - 1]}…{text[-half:]}"


def _leaves(content: object, where: str, depth: int) -> Iterator[tuple[str, object]]:
    """Texts (keys too) and numbers, with their dotted paths."""
    if depth > DEEPEST:
        raise Mismatch(f"field '{where:.60}…' is nested more than {DEEPEST} levels deep")
    if isinstance(content, dict):
        for key, value in content.items():
            place = f"{where}.{named(key)}" if where else named(key)
            yield place, key
            yield from _leaves(value, place, depth + 1)
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _leaves(value, f"{where}[{index}]", depth + 1)
    else:
        yield where, content
