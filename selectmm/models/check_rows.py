"""Find the rows of a pool that one model cannot take, before anything is computed: from headers and texts alone."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from transformers import PreTrainedTokenizerBase

from selectmm.cache.stage import fingerprint, run_stage, write_atomically
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.models.encode import ROOM, Conversation, encode
from selectmm.models.lengths import Size, image_tokens, tokens_among_others
from selectmm.models.render import render
from selectmm.models.tokenizer import token_counts
from selectmm.models.video import replacement_of
from selectmm.models.vlm import VLM
from selectmm.pool.clip import Clip
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Role, Turn
from selectmm.pool.unfit import REASONS, TAKE_CLIPS, Unfit

STAGE = "pool-model"
TURNS = (
    "Tools are taken by Qwen2.5-VL and Qwen3-VL, system prompts by these, Qwen2-VL, InternVL3, LLaVA-OneVision and "
    "LLaVA with a ChatML template; pool.system=join or leave_out takes a system prompt out of its turn."
)
# Where processors and configurations name what they mark images and videos with; families have some of them.
_MARKS = (
    "image_token",
    "video_token",
    "start_image_token",
    "end_image_token",
    "vision_start_token",
    "vision_end_token",
)
_IDS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")


def fitting(pool: Pool, vlm: VLM, limit: int, bad_rows: Literal["stop", "drop"], cache: Path, of: str = "pool") -> Pool:
    """The pool without the rows that the model cannot take (`Unfit`); the same pool if it can take all.

    Args:
        limit: tokens of a row, the recipe's ``max_length``.
        bad_rows: ``stop`` or ``drop``.
        of: what the rows are, ``pool`` or ``targets``.

    Raises:
        UserError: there are such rows and ``bad_rows`` is ``stop``, or every row is one.
    """
    unfit, file = find_unfit(pool, vlm, limit, cache)
    if not unfit.bad:
        return pool
    found = f"{_findings(pool, unfit)}. All are listed in {file}."
    clips = f" Clips are taken by {TAKE_CLIPS}." if unfit.clips else ""
    if bad_rows == "stop":
        way = ", or set pool.bad_rows=drop to leave these rows out" if of == "pool" else ""
        room = f" For images behind the limit, {ROOM}." if unfit.late_image else ""
        room += f" {TURNS}" if unfit.turns else ""
        raise UserError(f"This model cannot take all rows of the {of}: {found} Fix them{way}.{room}{clips}")
    if len(unfit.bad) == len(pool):
        raise UserError(f"This model can take no row of the {of}: {found} Fix them, or choose another model.{clips}")
    return _usable(pool, unfit)


def as_used(pool: Pool, wanted: str, cache: Path) -> Pool:
    """The pool as a run used it: without the rows that its model could not take, if it left some out.

    Needs no model, but what the run noted in its cache.

    Args:
        wanted: the fingerprint of the pool that the run used. If nothing in the cache leads to it, the pool is returned
            as it is.
    """
    if pool.fingerprint != wanted:
        for file in sorted(cache.glob(f"{STAGE}/*/unfit.json")):
            unfit = Unfit(**json.loads(file.read_text()))
            if _name(pool, unfit) == wanted:
                return _usable(pool, unfit)
    return pool


def _usable(pool: Pool, unfit: Unfit) -> Pool:
    return pool.without(unfit.bad, _name(pool, unfit), unfit)


def _name(pool: Pool, unfit: Unfit) -> str:
    """The fingerprint of what is left of a pool."""
    return fingerprint({"pool": pool.fingerprint, "unfit": unfit.bad})


def find_unfit(pool: Pool, vlm: VLM, limit: int, cache: Path) -> tuple[Unfit, Path]:
    """What the model cannot take of a pool, looked for once and then cached, and the file that lists it."""
    version = 2 if pool.clips.any() else 1  # 1 counted clips among the turns
    identity = {"pool": pool.fingerprint, "model": vlm.identity, "limit": limit, "version": version}

    def make(folder: Path) -> None:
        write_atomically(folder / "unfit.json", json.dumps(asdict(look(pool, vlm, limit))))

    folder = run_stage(cache, STAGE, identity, make).folder
    unfit, list_of = Unfit(**json.loads((folder / "unfit.json").read_text())), folder / "rows.json"
    named = {reason: [pool.named(row) for row in getattr(unfit, reason)] for reason in REASONS}
    text = json.dumps(named, indent=1, ensure_ascii=False)
    if not list_of.exists() or list_of.read_text(encoding="utf-8") != text:
        # Another file may make the same pool, with its rows at other places.
        write_atomically(list_of, text)
    return unfit, list_of


def look(pool: Pool, vlm: VLM, limit: int) -> Unfit:
    """What the model cannot take of a pool."""
    marks = image_marks(vlm)
    special = special_tokens(vlm.processor.tokenizer) - marks
    counts = _token_counts(pool, vlm)
    visual = np.flatnonzero(pool.image_of >= 0)
    tokens = counts[pool.image_of[visual]]
    first, extra = _places(vlm)
    ends = first + tokens - extra
    turns, clips = _turns_not_taken(pool, vlm), _clips_not_taken(pool, vlm)
    strange = sorted({*turns, *clips})
    distant = np.setdiff1d(np.union1d(pool.several, _later(pool)), strange)
    ends[np.searchsorted(visual, distant)] = _ends(pool, vlm, distant.tolist(), counts, first, extra)
    refused = pool.showing(counts == 0)
    late = np.setdiff1d(visual[ends > limit], np.union1d(refused, strange))
    return Unfit(
        placeholder=rows_with(pool, marks),
        shape=refused.tolist(),
        late_image=late.tolist(),
        special=rows_with(pool, special),
        turns=turns,
        clips=clips,
    )


def image_marks(vlm: VLM) -> set[str]:
    """The tokens by which the model's processor and the model itself know images and videos in a text."""
    known = vlm.processor.tokenizer.added_tokens_decoder  # a number that some configuration has may mean a word here
    ids = [getattr(vlm.model.config, name, None) for name in _IDS]
    named = [getattr(vlm.processor, name, None) for name in _MARKS]
    return {known[one].content for one in ids if one in known} | {mark for mark in named if mark}


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The texts that become one token with a meaning of its own, wherever they stand (``</s>``, ``<|im_end|>``)."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return {text for text in added | set(tokenizer.all_special_tokens) if text}


def rows_with(pool: Pool, words: set[str]) -> list[int]:
    """Positions of the rows of which a turn holds one of these words, ascending."""
    pattern = "|".join(re.escape(word) for word in sorted(words))
    return _rows_where(pool, lambda turns: pc.match_substring_regex(pc.struct_field(turns, "text"), pattern), words)


def _turns_not_taken(pool: Pool, vlm: VLM) -> list[int]:
    """Positions of the rows with a turn that the model's template has no place for, ascending."""
    roles = pa.array([role for role in get_args(Role) if not vlm.family.template.takes({role})], pa.string())
    return _rows_where(pool, lambda turns: pc.is_in(pc.struct_field(turns, "role"), roles), roles)


def _clips_not_taken(pool: Pool, vlm: VLM) -> list[int]:
    """Positions of the rows with a clip, if the model takes none, ascending."""
    return sorted(pool.showing(pool.clips).tolist()) if vlm.family.template.video is None else []


def _rows_where(pool: Pool, holds: Callable[[pa.StructArray], pa.BooleanArray], of: Collection[object]) -> list[int]:
    """Positions of the rows that have a turn of which something is true, ascending; none if it is true of nothing."""
    found, start = [], 0
    for batch in pool.table.select(["turns"]).to_batches() if len(of) else ():
        turns = batch.column(0)
        rows = pc.list_parent_indices(turns).filter(holds(turns.flatten()))
        found += (start + np.unique(rows.to_numpy())).tolist()
        start += batch.num_rows
    return found


def _token_counts(pool: Pool, vlm: VLM) -> np.ndarray:
    """Tokens that the processor's own formula gives each unique image, 0 where it refuses its shape; [images].

    They are those of an image that is alone in its row. One whose header was not read is given one token.
    """
    sides = pool.sizes if pool.sizes is not None else np.zeros((len(pool.images), 2), np.int32)
    shapes, of = np.unique(sides, axis=0, return_inverse=True)
    read = shapes[:, 0] > 0
    counts = np.ones(len(shapes), np.int64)
    counts[read] = _tokens_of(vlm, [(width, height) for width, height in shapes[read].tolist()])
    counts = counts[of.ravel()]
    if vlm.family.frames is not None:  # a clip has its frames' tokens, or none if one frame is refused
        return np.where(pool.clips, counts * vlm.family.frames, counts)
    if vlm.family.template.video is not None:
        for clip in np.flatnonzero(pool.clips & (sides[:, 0] > 0)).tolist():
            counts[clip] = _clip_tokens(vlm, pool.open_clip(pool.images[clip]))
    return counts


def _clip_tokens(vlm: VLM, clip: Clip) -> int:
    """Tokens in place of a clip's placeholder, 0 where the processor refuses its shape."""
    try:
        return token_counts(vlm.processor.tokenizer)([replacement_of(vlm, clip)])[0]
    except ValueError:
        return 0


def _tokens_of(vlm: VLM, sizes: list[Size]) -> list[int]:
    """Of each size, 0 where the processor refuses it; refused ones are rare, so halves are tried that hold none."""
    try:
        return image_tokens(vlm, sizes)
    except ValueError:
        middle = len(sizes) // 2
        return [0] if not middle else _tokens_of(vlm, sizes[:middle]) + _tokens_of(vlm, sizes[middle:])


def _places(vlm: VLM) -> tuple[int, int]:
    """Where an image that opens the first question begins, and how many tokens of the processor's count are marks.

    InternVL counts ``<img>`` and ``</img>``.
    """
    talk = Conversation((Turn("user", ""),), (Image.new("RGB", (64, 64)),))
    batch = encode(vlm, [talk], side="right", limit=None)
    places = np.flatnonzero((batch["input_ids"][0] == vlm.image_token_id).numpy())
    return int(places[0]), image_tokens(vlm, [(64, 64)])[0] - len(places)


def _later(pool: Pool) -> np.ndarray:
    """Positions of the rows whose first image does not stand in the first turn, ascending."""
    if "image_turn" not in pool.table.column_names:
        return np.array([], np.int64)
    return np.flatnonzero(pool.table["image_turn"].to_numpy(zero_copy_only=False) > 0)


def _ends(pool: Pool, vlm: VLM, rows: Sequence[int], counts: np.ndarray, first: int, extra: int) -> list[int]:
    """Where the last image of each of ``rows`` ends, in tokens, from the text in front of it.

    Args:
        counts: tokens of each unique image, alone in a row. first, extra: see `_places`.
    """
    if not rows:
        return []
    template, tokenizer = vlm.family.template, vlm.processor.tokenizer
    mark = tokenizer.convert_ids_to_tokens(vlm.image_token_id)
    frames = vlm.family.frames or 1
    marks = [mark, vlm.processor.video_token] if template.video and vlm.family.frames is None else [mark]
    samples = [pool[row] for row in rows]
    texts = [render(template, sample.turns, sample.images)[0] for sample in samples]
    texts = [text[: max(map(text.rfind, marks))] for text in texts]
    texts.append(template.start + template.user_prefix + template.image.partition(mark)[0])
    *before, least = token_counts(tokenizer)(texts)  # one token for each image but the last
    ends, of = pool.shown
    shown = [of[ends[row] : ends[row + 1]] for row in rows]
    placeholders, several = np.where(pool.clips, frames, 1), tokens_among_others(vlm)

    def tokens(seen: np.ndarray) -> int:
        """Of the images and clips of a row."""
        if several is None or (~pool.clips[seen]).sum() < 2:
            return int(counts[seen].sum())
        return int(np.where(pool.clips[seen], counts[seen], several).sum())

    return [
        length + first - least + tokens(seen) - (int(placeholders[seen].sum()) - 1) - extra
        for length, seen in zip(before, shown, strict=True)
    ]


def _findings(pool: Pool, unfit: Unfit) -> str:
    """How many rows there are for each reason, and the first."""
    found = [(getattr(unfit, reason), words) for reason, words in REASONS.items()]
    return ", ".join(
        f"{counted(len(rows), 'row')} {words} (first: {pool.named_with_images(rows[0])})"
        for rows, words in found
        if rows
    )
