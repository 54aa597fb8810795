"""What a row of any format must be, and how its text becomes turns: as LLaVA's own training reads it.

LLaVA's llava/train/train.py, ``preprocess_multimodal``: in a row with an image, a sentence that holds ``<image>`` loses
it, is stripped, and gets it back in front; every other sentence, and every row without an image, stays as it is, blanks
at its ends included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selectmm.errors import UserError
from selectmm.pool.sample import Role, Turn

PLACEHOLDER = "<image>"
ROLES: dict[str, Role] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


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
        system: it came with a system turn.
        trimmed: it began with an answer, which LLaVA's training skips too (``preprocess_v1``), or ended with a question
            that nobody answers; that turn is left out.
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


def turn_of(turn: object, role: str, text: str, where: str, shape: str) -> Turn:
    """A turn from a mapping whose keys are ``role`` and ``text``; the text as it is.

    Raises:
        UserError: it has another shape or an unknown role.
    """
    if not isinstance(turn, dict) or turn.get(role) not in ROLES or not isinstance(turn.get(text), str):
        raise UserError(f"{where} has a turn without '{role}' (human or gpt) and a text '{text}': {turn!r}; {shape}.")
    return Turn(ROLES[turn[role]], turn[text])


def row_of(
    where: str, turns: Sequence[Turn], image: str | None, source: object, id: object, system: bool = False
) -> Row:
    """Check order and image, and place the image.

    Args:
        turns: with ``<image>`` still in them.
        source: the row's own word for its source; without one it is the first folder of the image path, or ``text``.

    Raises:
        UserError: the turns do not alternate, or the image is mentioned in an answer or by several turns.
    """
    whole, turns = len(turns), _trimmed(turns)
    _check_order(turns, where)
    trimmed = len(turns) < whole
    named = str(source or _source_of(image))
    name = None if id is None else str(id)
    mentions = [place for place, turn in enumerate(turns) if PLACEHOLDER in turn.text]
    if image is None:
        clean = [Turn(turn.role, turn.text.replace(PLACEHOLDER, "")) for turn in turns] if mentions else turns
        return Row(named, tuple(clean), None, id=name, spoken=bool(mentions), system=system, trimmed=trimmed)
    if len(mentions) > 1:
        raise UserError(f"{where} shows images in turns {mentions}, but one image per row is supported; split the row.")
    place = mentions[0] if mentions else 0
    if turns[place].role == "assistant":
        raise UserError(f"{where} has {PLACEHOLDER} in an answer (turn {place}); a row's image belongs to a question.")
    placed = list(turns)
    if mentions:
        placed[place] = Turn("user", turns[place].text.replace(PLACEHOLDER, "").strip())
    return Row(named, tuple(placed), image, place, name, unplaced=not mentions, system=system, trimmed=trimmed)


def one_image(image: object, where: str) -> str | None:
    """A row's image path: a text, a list of one text, or nothing.

    Raises:
        UserError: there are several, or it is something else.
    """
    if image is None or (isinstance(image, list) and not image):
        return None
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if isinstance(image, str) and image:
        return image
    raise UserError(f"{where} has an 'image' that is not one path: {image!r}; one image per row is supported.")


def _trimmed(turns: Sequence[Turn]) -> Sequence[Turn]:
    """Without an answer at the very front and a question at the very end."""
    first = 1 if turns and turns[0].role == "assistant" else 0
    last = len(turns) - (1 if turns and turns[-1].role == "user" else 0)
    return turns[first:last]


def _check_order(turns: Sequence[Turn], where: str) -> None:
    roles = [turn.role for turn in turns]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
        raise UserError(
            f"{where} does not alternate human and gpt, ending in gpt: {roles}; every question needs its answer."
        )


def _source_of(image: str | None) -> str:
    if image is None:
        return "text"
    first, _, rest = image.partition("/")
    if first not in ("", ".") and rest and rest[0] not in "./":
        return first
    parts = Path(image).parts  # slow, and it keeps every part it ever saw
    return parts[0] if len(parts) > 1 else "images"
