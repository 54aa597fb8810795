"""A number with the noun that it counts."""


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number with its noun: ``1 row``, ``2 rows``, ``1,234 rows``.

    Args:
        several: the plural, if it is not ``one`` with an s.
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"
