"""What a row of any format must be, and how its text becomes turns: as LLaVA's own training reads it.

LLaVA's llava/train/train.py, ``preprocess_multimodal``: in a row with an image, a sentence that holds ``<image>`` loses
it, is stripped, and gets it back in front; every other sentence, and every row without an image, stays as it is, blanks
at its ends included. A sentence that holds several of them stays as it is too, each image where its ``<image>`` stands:
so LLaVA-NeXT's preprocess_multimodal has it, which knows rows with several images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from selectmm.pool.bad import BadRow, shown
from selectmm.pool.image_path import source_of
from selectmm.pool.sample import Shown, Turn

PLACEHOLDER = "<image>"
LONGEST_SOURCE = 1_000  # characters; a source is a name, and tables and arrays hold it for every row


@dataclass(frozen=True)
class Row:
    """What a row says, checked.

    Attributes:
        images: in the order in which the turns show them; none in a text-only row.
        id: as the file has it; ids may repeat and identify nothing.
        unplaced: it has images that no turn mentions. We show them at the first question; LLaVA would not show them.
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
    images: tuple[Shown, ...] = ()
    id: str | None = None
    unplaced: bool = False
    spoken: bool = False
    system: bool = False
    trimmed: bool = False
    unread: tuple[str, ...] = ()
    anew: bool = False

    @property
    def image(self) -> str | None:
        """Path of the first image; None for a text-only row."""
        return self.images[0].path if self.images else None


def row_of(
    turns: Sequence[Turn],
    images: Sequence[str],
    source: object,
    id: object,
    system: bool = False,
    unread: tuple[str, ...] = (),
    anew: bool = False,
) -> Row:
    """Check order and images, and place the images.

    Args:
        turns: with ``<image>`` still in them.
        images: paths below the image folder, in the order of their ``<image>``.
        source: the row's own word for its source; without one it is the first folder of the first image's path, or
            ``text``.

    Raises:
        BadRow: the turns do not alternate, none is trained on, an image is mentioned in an answer, there are not as
            many ``<image>`` as images, or source or id are no words.
    """
    said, turns = turns, _trimmed(turns)
    _check_order(turns)
    trimmed = len(turns) < len(said)
    if trimmed and len(images) > 1:
        images = _still_shown(images, said, turns)
    named, name = _source(source, images[0] if images else None), _id(id)
    mentions = [place for place, turn in enumerate(turns) if PLACEHOLDER in turn.text]
    if not images:
        clean = [Turn(t.role, t.text.replace(PLACEHOLDER, ""), t.trained) for t in turns] if mentions else turns
        return Row(named, tuple(clean), (), name, False, bool(mentions), system, trimmed, unread, anew)
    _check_mentions(turns, mentions, len(images))
    placed, shown = _one(turns, images[0], mentions) if len(images) == 1 else _several(turns, images, mentions)
    return Row(named, tuple(placed), shown, name, not mentions, False, system, trimmed, unread, anew)


def _still_shown(images: Sequence[str], said: Sequence[Turn], turns: Sequence[Turn]) -> Sequence[str]:
    """The images that are left with the turns that `_trimmed` left; all of them where marks and images do not agree."""
    marks = [turn.text.count(PLACEHOLDER) for turn in said]
    if sum(marks) != len(images):
        return images
    first = 0 if said[0] is turns[0] else 1
    before = sum(marks[:first])
    return images[before : before + sum(marks[first : first + len(turns)])]


def _check_mentions(turns: Sequence[Turn], mentions: list[int], images: int) -> None:
    """Whether every image has its place, or none, and each is in a question."""
    marks = sum(turns[place].text.count(PLACEHOLDER) for place in mentions)
    if len(mentions) > 1 if images == 1 else marks not in (0, images):
        raise BadRow(
            "more or fewer <image> than images",
            f"has {marks} {PLACEHOLDER} (in turns {shown(mentions)}) for {images} image{'s' * (images > 1)}; give as "
            f"many of the one as of the other",
        )
    answer = next((place for place in mentions if turns[place].role == "assistant"), None)
    if answer is not None:
        raise BadRow(
            "<image> in an answer",
            f"has {PLACEHOLDER} in an answer (turn {answer}); a row's images belong to its questions",
        )


def _one(turns: Sequence[Turn], image: str, mentions: list[int]) -> tuple[Sequence[Turn], tuple[Shown, ...]]:
    """The turns with the only image opening the one that mentions it, or the first question; and the image."""
    if not mentions:
        return turns, (Shown(image),)
    placed, place = list(turns), mentions[0]
    placed[place] = Turn("user", turns[place].text.replace(PLACEHOLDER, "").strip())
    return placed, (Shown(image, place),)


def _several(
    turns: Sequence[Turn], images: Sequence[str], mentions: list[int]
) -> tuple[Sequence[Turn], tuple[Shown, ...]]:
    """The turns without marks, and each image where its mark stood; all open the first question if no turn has one."""
    if not mentions:
        return turns, tuple(Shown(image) for image in images)
    placed, found, left = list(turns), [], iter(images)
    for place in mentions:
        before, *pieces = turns[place].text.split(PLACEHOLDER)
        if len(pieces) == 1:
            text = (before + pieces[0]).strip()
            found.append(Shown(next(left), place))
        else:
            text = before
            for piece in pieces:
                inline = not piece.startswith("\n")  # a line break directly behind a mark is part of it
                found.append(Shown(next(left), place, len(text), inline))
                text += piece if inline else piece[1:]
        placed[place] = Turn("user", text)
    return placed, tuple(found)


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
