"""A row that cannot be read: the reason, by which such rows are counted, and what is wrong with this one."""

from reprlib import Repr

from selectmm.errors import UserError


class BadRow(UserError):
    """One row cannot be read; the others can.

    Attributes:
        reason: what follows "rows with" in a count, the same for every row of the kind.
    """

    def __init__(self, reason: str, fault: str) -> None:
        """Take as ``fault`` what follows the row's name in a sentence, such as "has no turns"."""
        super().__init__(fault)
        self.reason = reason


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxtuple = 3, 3, 6, 3


def shown(value: object) -> str:
    """Somebody else's value for a sentence of ours: its beginning, with control characters escaped."""
    text = _SHORT.repr(value)
    return text if len(text) <= 160 else f"{text[:159]}…"


def excerpt(text: object, longest: int = 300) -> str:
    """Somebody else's text for a sentence of ours: control characters escaped, its middle left out if it is long."""
    short = Repr()
    short.maxstring = longest
    return short.repr(str(text))[1:-1]


def id_of(id: object) -> str | None:
    """A row's id as text; it may hold half a character."""
    if id is None or id.__class__ is str:
        return id
    if id != id:  # NaN, by which pandas fills in what a row does not have
        return None
    return str(id) if isinstance(id, int | float) else shown(id)


def absent(value: object) -> bool:
    """Whether a field's value stands for none at all: null, an empty text, list or object, or NaN.

    Unlike `empty`, which is for fields that hold texts, lists and objects: 0 and false are names like any other.
    """
    if value is None or value.__class__ is str:
        return not value
    return (isinstance(value, list | dict | bytes) and not value) or value != value


def unsaid(value: object, depth: int = 4) -> bool:
    """Whether a field is there but says nothing: it is `absent`, or a list or object of such values.

    Tables of Hugging Face and pandas fill in the fields that a row does not have in these ways.
    """
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list) and depth:
        return all(unsaid(one, depth - 1) for one in value)
    return absent(value)


def empty(value: object, depth: int = 4) -> bool:
    """Whether a field that holds texts, lists or objects says nothing: it is `unsaid`, or 0 or false."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list) and depth:
        return all(empty(one, depth - 1) for one in value)
    return not value or value != value
