"""What a row of any format must be, and how its text becomes turns: as LLaVA's own training reads it.

LLaVA's llava/train/train.py, ``preprocess_multimodal``: in a row with an image, a sentence that holds ``<image>`` loses
it, is stripped, and gets it back in front; every other sentence, and every row without an image, stays as it is, blanks
at its ends included. A sentence that holds several of them stays as it is too, each image where its ``<image>`` stands:
so LLaVA-NeXT's preprocess_multimodal has it, which knows rows with several images.
"""

import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from selectmm.pool.bad import BadRow, absent, id_of, shown
from selectmm.pool.image_path import source_of
from selectmm.pool.sample import ANSWERS, Shown, Turn
from selectmm.pool.turn_order import check_trained, order_of

PLACEHOLDER, VIDEO = "<image>", "<video>"
_MARK = re.compile(f"({PLACEHOLDER}|{VIDEO})")
SHOWING = frozenset({"user", "tool_result"})  # turns that may show images
LONGEST_SOURCE = 1_000  # characters; a source is a name, and tables and arrays hold it for every row


class Row(NamedTuple):
    """What a row says, checked.

    Attributes:
        images: in the order in which the turns show them; none in a text-only row.
        id: as the file has it; ids may repeat and identify nothing.
        unplaced: it has images that no turn mentions. We show them at the first question; LLaVA would not show them.
        spoken: it has no image, but a turn said ``<image>``, which is taken out: tokenizers know it as the image's
            token. LLaVA would keep it as plain text.
        system: it came with a system prompt.
        trimmed: it began with an answer, which LLaVA's training skips too (``preprocess_v1``), or ended with a question
            that nobody answers; that turn is left out, with the images that it shows.
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
    videos: Sequence[str] = (),
) -> Row:
    """Check order and images, and place the images.

    Args:
        turns: with ``<image>`` still in them.
        images: paths below the image folder, in the order of their ``<image>``. videos: of clips, of ``<video>``.
        source: the row's own word for its source; without one it is the first folder of the first image's path, or
            ``text``.

    In a row of clips alone, ``<image>`` may mark the clips.

    Raises:
        BadRow: the turns do not alternate, none is trained on, an image is mentioned in an answer, there are not as
            many ``<image>`` as images, or source or id are no words.
    """
    if videos and not images:
        turns = _clips_as_images(turns, len(videos))
    said = turns
    roles, texts, trained = zip(*said, strict=True) if said else ((), (), ())
    head, first, last, asked, tools = order_of(roles)
    trimmed = last - first + head < len(said)
    if trimmed:
        turns = [*said[:head], *said[first:last]]
        texts = (*texts[:head], *texts[first:last])
    if False in trained:  # else the order has an answer
        check_trained(turns)
    anew = anew or tools or _misread(source, id)
    if trimmed:
        given = images
        images = _still_shown(images, said, turns, PLACEHOLDER)
        videos = _still_shown(videos, said, turns, VIDEO)
        anew = anew or len(images) < len(given) == 1  # it was shown at another question
    if videos:
        row = Row("", (), (), _id(id), False, False, system, trimmed, unread, anew)
        return _with_clips(turns, asked, images, videos, source, row)
    named, name = _source(source, images[0] if images else None), _id(id)
    mentions = [place for place, text in enumerate(texts) if PLACEHOLDER in text]
    if not images:
        clean = [Turn(t.role, t.text.replace(PLACEHOLDER, ""), t.trained) for t in turns] if mentions else turns
        return Row(named, tuple(clean), (), name, False, bool(mentions), system, trimmed, unread, anew)
    _check_mentions(turns, mentions, len(images))
    if not mentions:
        placed, shown = turns, tuple([Shown(image, asked) for image in images])
    elif len(images) == 1:
        placed, shown = _one(turns, images[0], mentions[0])
    else:
        placed, shown = _several(turns, images, mentions)
    return Row(named, tuple(placed), shown, name, not mentions, False, system, trimmed, unread, anew)


def _clips_as_images(turns: Sequence[Turn], clips: int) -> Sequence[Turn]:
    """With ``<video>`` for ``<image>`` if these are the clips' marks, as LLaVA-Video-178K writes them.

    Args:
        clips: how many the row shows, beside no image.
    """
    text = "".join([turn.text for turn in turns])
    if VIDEO in text or text.count(PLACEHOLDER) != clips:
        return turns
    return [turn._replace(text=turn.text.replace(PLACEHOLDER, VIDEO)) for turn in turns]


def _still_shown(images: Sequence[str], said: Sequence[Turn], turns: Sequence[Turn], mark: str) -> Sequence[str]:
    """The images that are shown by the turns that are left; all of them where marks and images do not agree.

    A turn that mentions a row's only image shows it once, however often it does.
    """
    most = 1 if len(images) == 1 else sys.maxsize
    marks = [min(turn.text.count(mark), most) for turn in said]
    if sum(marks) != len(images):
        return images
    left = {id(turn) for turn in turns}
    of = [turn for turn, count in zip(said, marks, strict=True) for _ in range(count)]
    return [image for image, turn in zip(images, of, strict=True) if id(turn) in left]


def _check_mentions(turns: Sequence[Turn], mentions: list[int], images: int) -> None:
    """Whether every image has its place, or none, and each is in a question."""
    marks = len(mentions) if images == 1 else sum([turns[place].text.count(PLACEHOLDER) for place in mentions])
    if marks and marks != images:
        marks = sum(turns[place].text.count(PLACEHOLDER) for place in mentions)
        raise BadRow(
            "more or fewer <image> than images",
            f"has {marks} {PLACEHOLDER} (in turns {shown(mentions)}) for {images} image{'s' * (images > 1)}; give as "
            f"many of the one as of the other",
        )
    for other in mentions:
        if turns[other].role not in SHOWING:
            where = "an answer" if turns[other].role in ANSWERS else f"a turn of the role {turns[other].role}"
            raise BadRow(
                f"<image> in {where}",
                f"has {PLACEHOLDER} in {where} (turn {other}); a row's images belong to its questions or to what tools "
                f"return",
            )


def _one(turns: Sequence[Turn], image: str, place: int) -> tuple[Sequence[Turn], tuple[Shown, ...]]:
    """The turns with the only image opening the one that mentions it; and the image."""
    placed = list(turns)
    placed[place] = Turn(turns[place].role, turns[place].text.replace(PLACEHOLDER, "").strip())
    return placed, (Shown(image, place),)


def _several(
    turns: Sequence[Turn], images: Sequence[str], mentions: list[int]
) -> tuple[Sequence[Turn], tuple[Shown, ...]]:
    """The turns without marks, and each image where its mark stood."""
    placed = list(turns)
    found: list[Shown] = []
    for place in mentions:
        role, said, _ = turns[place]
        text, *pieces = said.split(PLACEHOLDER)
        if len(pieces) == 1:
            text = (text + pieces[0]).strip()
            found.append(Shown(images[len(found)], place))
        else:
            for piece in pieces:
                inline = piece[:1] != "\n"  # a line break directly behind a mark is part of it
                found.append(Shown(images[len(found)], place, len(text), inline))
                text += piece if inline else piece[1:]
        placed[place] = Turn(role, text)
    return placed, tuple(found)


def _with_clips(
    turns: Sequence[Turn], asked: int, images: Sequence[str], videos: Sequence[str], source: object, row: Row
) -> Row:
    """``row`` with turns and what they show, images and clips, each where its mark stands.

    The only mark of a turn opens it, as in rows of images alone. What no turn mentions opens the first question.

    Args:
        asked: place of the first question.
    """
    left = {PLACEHOLDER: list(images), VIDEO: list(videos)}
    marks = [mark for turn in turns for mark in _MARK.findall(turn.text)]
    for mark, kind in ((PLACEHOLDER, "image"), (VIDEO, "clip")):
        count = len(left[mark])
        if marks.count(mark) not in (0, count):
            raise BadRow(
                f"more or fewer {mark} than {kind}s",
                f"has {marks.count(mark)} {mark} for {count} {kind}{'s' * (count != 1)}; give as many of both",
            )
    opening = [(path, mark == VIDEO) for mark in (VIDEO, PLACEHOLDER) if mark not in marks for path in left.pop(mark)]
    placed, found = [], []
    for place, turn in enumerate(turns):
        if place == asked:
            found += [Shown(path, place, 0, False, clip) for path, clip in opening]
        text, *pieces = _MARK.split(turn.text)
        if pieces and turn.role not in SHOWING:
            raise BadRow("<image> in an answer", f"shows something in turn {place}, which is no question")
        alone = len(pieces) == 2
        for mark, piece in zip(pieces[::2], pieces[1::2], strict=True):
            inline = not alone and not piece.startswith("\n")
            if mark in left:
                found.append(Shown(left[mark].pop(0), place, 0 if alone else len(text), inline, mark == VIDEO))
            text += piece if inline or alone else piece[1:]
        placed.append(Turn(turn.role, text.strip() if alone else text, turn.trained))
    shown = tuple(found)
    named = _source(source, shown[0].path)
    return row._replace(source=named, turns=tuple(placed), images=shown, unplaced=bool(opening))


def _misread(source: object, id: object) -> bool:
    """Whether earlier versions read them otherwise: 0 and false as no source, NaN as a source or an id of that name."""
    if source is not None and source.__class__ is not str and not isinstance(source, list | dict | bytes):
        if not source or source != source:
            return True
    return id != id


def _source(source: object, image: str | None) -> str:
    if absent(source):
        return source_of(image)
    if source.__class__ is str:
        if len(source) > LONGEST_SOURCE or "\0" in source:
            raise BadRow(
                "a source that is no name",
                f"has a source of {len(source):,} characters that is no name (at most {LONGEST_SOURCE:,}, and no NUL): "
                f"{shown(source)}",
            )
        return source
    if isinstance(source, list | dict | bytes):
        raise BadRow(
            "a source that is no name",
            f"has a source that is no word: {shown(source)}; set pool.source to another field",
        )
    return str(source)


def _id(id: object) -> str | None:
    name = id_of(id)
    if name is not None and not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as problem:
            raise BadRow("half a character", f"has an id with half a character: {shown(id)}") from problem
    return name
