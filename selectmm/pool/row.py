"""What a row of any format must be, and how its text becomes turns: as LLaVA's own training reads it.

LLaVA's llava/train/train.py, ``preprocess_multimodal``: in a row with an image, a sentence that holds ``<image>`` loses
it, is stripped, and gets it back in front; every other sentence, and every row without an image, stays as it is, blanks
at its ends included.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from selectmm.pool.bad import BadRow, shown
from selectmm.pool.image_path import source_of
from selectmm.pool.sample import Turn

PLACEHOLDER = "<image>"
LONGEST_SOURCE = 1_000  # characters; a source is a name, and tables and arrays hold it for every row


@dataclass(frozen=True)
class Row:
    """What a row says, checked.

    Attributes:
        image: path under the image root; None for a text-only row.
        image_turn: index of the turn that the image opens.
        id: as the file has it; ids may repeat and identify nothing.
        unplaced: it has an image that no turn mentions. We show it at the first question; LLaVA would not show it.
        spoken: it has no image, but a turn said ``<image>``, which is taken out: tokenizers know it as the image's
            token. LLaVA would keep it as plain text.
        system: it came with a system prompt.
        trimmed: it began with an answer, which LLaVA's training skips too (``preprocess_v1``), or ended with a question
            that nobody answers; that turn is left out.
        unread: names of its fields that say something and are not read.
        anew: earlier versions of its reader made another row of it, so that the pool must not have the name it had.
    """

    source: str
    turns: tuple[Turn, ...]
    image: str | None
    image_turn: int = 0
    id: str | None = None
    unplaced: bool = False
    spoken: bool = False
    system: bool = False
    trimmed: bool = False
    unread: tuple[str, ...] = ()
    anew: bool = False


def row_of(
    turns: Sequence[Turn],
    image: str | None,
    source: object,
    id: object,
    system: bool = False,
    unread: tuple[str, ...] = (),
    anew: bool = False,
) -> Row:
    """Check order and image, and place the image.

    Args:
        turns: with ``<image>`` still in them.
        image: path below the image folder.
        source: the row's own word for its source; without one it is the first folder of the image path, or ``text``.

    Raises:
        BadRow: the turns do not alternate, none is trained on, the image is mentioned in an answer or by several turns,
            or source or id are no words.
    """
    whole, turns = len(turns), _trimmed(turns)
    _check_order(turns)
    trimmed = len(turns) < whole
    named, name = _source(source, image), _id(id)
    mentions = [place for place, turn in enumerate(turns) if PLACEHOLDER in turn.text]
    if image is None:
        clean = [Turn(t.role, t.text.replace(PLACEHOLDER, ""), t.trained) for t in turns] if mentions else turns
        return Row(named, tuple(clean), None, 0, name, False, bool(mentions), system, trimmed, unread, anew)
    if len(mentions) > 1:
        raise BadRow(
            "<image> in several turns",
            f"shows images in turns {shown(mentions)}, but one image per row is supported; split the row",
        )
    place = mentions[0] if mentions else 0
    if turns[place].role == "assistant":
        raise BadRow(
            "<image> in an answer",
            f"has {PLACEHOLDER} in an answer (turn {place}); a row's image belongs to a question",
        )
    placed = list(turns)
    if mentions:
        placed[place] = Turn("user", turns[place].text.replace(PLACEHOLDER, "").strip())
    return Row(named, tuple(placed), image, place, name, not mentions, False, system, trimmed, unread, anew)


def _source(source: object, image: str | None) -> str:
    if source is None:
        return source_of(image)
    if source.__class__ is str and source:
        if len(source) > LONGEST_SOURCE or "\0" in source:
            raise BadRow(
                "a source that is no name",
                f"has a source of {len(source):,} characters that is no name (at most {LONGEST_SOURCE:,}, and no NUL): "
                f"{shown(source)}",
            )
        return source
    if isinstance(source, list | dict | bytes) and source:
        raise BadRow(
            "a source that is no name",
            f"has a source that is no word: {shown(source)}; set pool.source to another field",
        )
    return str(source or source_of(image))


def _id(id: object) -> str | None:
    if id is None or (id.__class__ is str and id.isascii()):
        return id
    name = id if isinstance(id, str) else str(id) if isinstance(id, int | float) else shown(id)
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as problem:
            raise BadRow("half a character", f"has an id with half a character: {shown(id)}") from problem
    return name


def _trimmed(turns: Sequence[Turn]) -> Sequence[Turn]:
    """Without an answer at the very front and a question at the very end."""
    first = 1 if turns and turns[0].role == "assistant" else 0
    last = len(turns) - (1 if turns and turns[-1].role == "user" else 0)
    return turns[first:last]


def _check_order(turns: Sequence[Turn]) -> None:
    roles = [turn.role for turn in turns]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
        told = ", ".join(roles[:8]) + (", …" if len(roles) > 8 else "") if roles else "no question with its answer"
        raise BadRow(
            "turns that do not alternate",
            f"does not alternate human and gpt, ending in gpt (it has: {told}); every question needs its answer",
        )
    if not turns[1].trained and not any(turn.trained for turn in turns[1::2]):
        raise BadRow("no answer to train on", "has no answer to train on: all are marked as context (loss or weight)")
