"""A number of every row of a JSON file by the way to it: ``__dj__stats__.text_len`` is one of Data-Juicer's."""

from collections.abc import Sequence

from selectmm.errors import UserError
from selectmm.pool.bad import shown


def numbers_at(rows: Sequence[object], key: str, file: str) -> list[float | None]:
    """The number at ``key`` in each row; None where it is null, or a list without an entry.

    Args:
        key: names joined by dots; ``.0`` is a list's first entry. A list of one number is that number: Data-Juicer
            gives one for each image of a row.

    Raises:
        UserError: a row has no such key, or something else than a number there.
    """
    return [
        _number(_at(row, key, f"row {number} of {file}"), key, f"row {number} of {file}")
        for number, row in enumerate(rows)
    ]


def _at(row: object, key: str, who: str) -> object:
    value, way = row, []
    for part in key.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit():
            if int(part) >= len(value):
                return None  # fewer images than others
            value = value[int(part)]
        else:
            names = ", ".join(shown(name) for name in list(value)[:12]) if isinstance(value, dict) else ""
            told = f"has: {names}" if isinstance(value, dict) else f"is {shown(value)}"
            raise UserError(f"method.key={key}: there is no '{part}' in {who}, {'.'.join(way) or 'which'} {told}.")
        way.append(part)
    return value


def _number(value: object, key: str, who: str) -> float | None:
    if isinstance(value, list) and len(value) < 2:
        value = value[0] if value else None
    if isinstance(value, list):
        raise UserError(f"method.key={key}: {who} has {len(value)} values there; name one, as in method.key={key}.0.")
    if value is not None and type(value) not in (int, float):
        raise UserError(f"method.key={key}: {who} has {shown(value)} there, which is no number.")
    return value
