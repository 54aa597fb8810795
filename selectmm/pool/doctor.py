"""Look a pool over before anything runs: what is wrong with it, how often, where first, and what to do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from selectmm.pool.bad import excerpt
from selectmm.pool.bad_image import bad_image, named_with_image
from selectmm.pool.composition import Composition
from selectmm.pool.health import Health
from selectmm.pool.pool import Pool

EXAMPLES = 3
CHARACTERS = 8_000  # of a row; where no model says what a token is
UNREAD = "cannot be read: "  # what the name of a finding about such rows begins with; the reason follows
# A character that could not be decoded; control characters; UTF-8 that was read as Latin-1 or Windows-1252.
DAMAGE = "�|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|[ÂÃ][\u0080-\u00bf€‚„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€"

Weight = Literal["blocks", "look", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        count: rows it is true of. of: rows there are.
        examples: the first few, in words.
        advice: what to do.
        weight: ``blocks`` a run, deserves a ``look``, or is a ``note``.
    """

    name: str
    count: int
    of: int
    examples: list[str]
    advice: str
    weight: Weight


@dataclass(frozen=True)
class Limit:
    """How long a row may be: ``most`` of ``unit``, as ``lengths`` counts them in texts (tokens; None: characters).

    ``by`` names the model and the recipe that say so.
    """

    most: int = CHARACTERS
    unit: str = "characters"
    lengths: Callable[[list[str]], Sequence[int]] | None = None
    by: str = "this model and recipe"


def diagnose(pool: Pool, expected: Composition | None, limit: Limit, bad_rows: str) -> list[Finding]:
    """Everything that was found, what blocks a run first. No row is changed.

    Args:
        pool: opened with ``bad_rows=keep``, so that its bad rows are in it and its `Health` tells them.
        bad_rows: what a run would do with them, ``stop`` or ``drop``.
    """
    damaged, long = _texts(pool, limit)
    found = [
        *_unread(pool, pool.health, bad_rows),
        *_bad(pool, pool.health, bad_rows),
        *(_composed(pool, expected) if expected else []),
        _rows(pool, "likely encoding damage", damaged, "Export the file again as UTF-8, or fix these texts.", "look"),
        _rows(
            pool,
            f"longer than {limit.most:,} {limit.unit}",
            long,
            f"They are cut in training with {limit.by}, and the run's record counts them; raise recipe.max_length to "
            f"keep them whole."
            if limit.lengths
            else "Give model=… and recipe=… as well; then tokens are counted, and compared with recipe.max_length.",
            "look",
        ),
        *_repeated(pool),
        *_placed(pool, pool.health),
        *_passed_over(pool, pool.health),
    ]
    order: list[Weight] = ["blocks", "look", "note"]
    return sorted((finding for finding in found if finding.count), key=lambda finding: order.index(finding.weight))


def _unread(pool: Pool, health: Health, bad_rows: str) -> list[Finding]:
    """Rows that cannot be read, each reason with its first sentences, which say the way out."""
    weight, way = _dealt_with(pool, health, bad_rows)
    return [
        Finding(f"{UNREAD}{reason}", count, in_file(pool), health.examples[reason], f"Fix these rows, {way}", weight)
        for reason, count in health.unread.items()
    ]


def in_file(pool: Pool) -> int:
    """The rows of a pool's file, also those that cannot be read."""
    return len(pool) + (sum(pool.health.unread.values()) if pool.health else 0)


def _dealt_with(pool: Pool, health: Health, bad_rows: str) -> tuple[Weight, str]:
    """What a run does with bad rows, and how to say so."""
    if bad_rows == "stop" or len(health.bad) == len(pool):
        return "blocks", "or set pool.bad_rows=drop to leave these rows out."
    return "look", "or they are left out."


def _bad(pool: Pool, health: Health, bad_rows: str) -> list[Finding]:
    weight, way = _dealt_with(pool, health, bad_rows)
    truncated = set(health.truncated_image)
    unreadable = [row for row in health.broken_image if row not in truncated]
    what = "image or clip" if pool.clips.any() else "image"
    return [
        _bad_images(
            pool, f"missing {what}", health.missing_image, f"Put the files under {pool.image_root}, {way}", weight
        ),
        _rows(pool, "truncated image", health.truncated_image, f"Fetch these files again, {way}", weight),
        _bad_images(pool, f"unreadable {what}", unreadable, f"Replace these files, {way}", weight, why=True),
        _rows(pool, "empty answer", health.empty_answer, f"Write the answers, {way}", weight),
    ]


def _composed(pool: Pool, expected: Composition) -> list[Finding]:
    """Where the pool differs from what was published, and image folders that are not there at all."""
    counts, wanted = pool.counts(), expected.expected()
    differ = {
        name: counts.get(name, 0) - wanted.get(name, 0)
        for name in [*wanted, *(name for name in counts if name not in wanted)]
    }
    examples = [f"{name} {by:+,}" for name, by in differ.items() if by]
    root = pool.image_root
    absent = [folder for folder in expected.folders if isinstance(root, Path) and not (root / folder).is_dir()]
    rows = sum(abs(by) for by in differ.values())
    advice = "Compare the file's size and source with pool's config; results are then not of the published pool."
    where = f"Unpack them under {pool.image_root}; the pool's config says where they come from."
    return [
        Finding("not as published", rows, expected.rows, examples, advice, "look"),
        Finding("image folders not there", len(absent), len(expected.folders), absent, where, "look"),
    ]


def _repeated(pool: Pool) -> list[Finding]:
    """Rows whose id, or whose whole content, an earlier row has."""
    ids = _seen_before(pool.table["id"]) if "id" in pool.table.column_names else []
    same = _seen_before(pool.table["digest"])
    return [
        _rows(
            pool,
            "same content again",
            same,
            "Source, text and image are an earlier row's; remove if not meant.",
            "look",
        ),
        _rows(pool, "same id again", ids, "Nothing: a row is known by its place and content, never by its id.", "note"),
    ]


def _seen_before(column: pa.ChunkedArray) -> list[int]:
    codes = column.dictionary_encode().combine_chunks().indices
    rows = np.flatnonzero(pc.is_valid(codes).to_numpy(zero_copy_only=False))
    _, first = np.unique(codes.drop_null().to_numpy(), return_index=True)
    return np.delete(rows, first).tolist()


def _placed(pool: Pool, health: Health) -> list[Finding]:
    """What the reader had to decide, and the rows without image."""
    shown = "It is shown at the first question; LLaVA's own training would not show it. Add <image> to be sure."
    taken = "<image> is taken out of the text; LLaVA's own training would keep it as plain text."
    letters = "It stays in the text, as in LLaVA's own training; name the clip in 'video' if one is meant."
    ended = "An answer at the front or a question at the end is left out; LLaVA's own training skips the first too."
    text_only = np.flatnonzero(pool.image_of < 0).tolist()
    return [
        _rows(pool, "image that no turn mentions", health.unplaced, shown, "look"),
        _rows(
            pool,
            "several images",
            pool.several.tolist(),
            "All are shown, each where its <image> stands; a method's file says what it makes of them.",
            "note",
        ),
        _rows(pool, "<image> said without an image", health.spoken, taken, "look"),
        _rows(pool, "<video> said without a clip", health.unfilmed, letters, "look"),
        _rows(
            pool,
            "image in a later question",
            _later(pool.table),
            "It is shown there; what methods read of an image alone is as if it came first.",
            "look",
        ),
        _rows(pool, "system prompt", health.system, "pool.system says what becomes of it.", "look"),
        _rows(
            pool,
            "answer that is context only",
            health.untrained,
            "Its row says so (loss or weight): it is shown, and nothing is learned from it.",
            "look",
        ),
        _rows(pool, "turn without its other half", health.trimmed, ended, "look"),
        _rows(pool, "text-only", text_only, "Some methods keep them all; see the method's options.", "note"),
    ]


def _later(table: pa.Table) -> list[int]:
    """Rows whose first image is shown behind their first question, which a system prompt or tools may precede."""
    if "image_turn" not in table.column_names:
        return []
    later, start = [], 0
    for batch in table.select(["turns", "image_turn"]).to_batches():
        turns = batch.column(0)
        asks = np.flatnonzero(pc.equal(pc.struct_field(turns.flatten(), "role"), "user").to_numpy(zero_copy_only=False))
        lengths = pc.list_value_length(turns).to_numpy()
        rows, first = np.unique(np.repeat(np.arange(len(turns)), lengths)[asks], return_index=True)
        asked = asks[first] - (np.cumsum(lengths) - lengths)[rows]
        later += (start + rows[batch.column(1).fill_null(0).to_numpy()[rows] > asked]).tolist()
        start += batch.num_rows
    return later


def _passed_over(pool: Pool, health: Health) -> list[Finding]:
    """Fields that are not read, the most frequent first."""
    most = sorted(health.fields.items(), key=lambda entry: -entry[1])
    examples = [f"{name} ({count:,})" for name, count in most[: 3 * EXAMPLES]]
    examples += [f"and {len(most) - len(examples)} more"] if len(most) > len(examples) else []
    advice = "Nothing, if they only describe rows; what they say plays no part in training or selection."
    return [Finding("field that is not read", most[0][1] if most else 0, in_file(pool), examples, advice, "note")]


def _bad_images(pool: Pool, name: str, rows: list[int], advice: str, weight: Weight, why: bool = False) -> Finding:
    """A finding about ``rows`` whose examples name the image or clip that cannot be opened, and ``why``."""
    shown = [_with_reason(pool, row) if why else named_with_image(pool, row) for row in rows[:EXAMPLES]]
    return Finding(name, len(rows), in_file(pool), shown, advice, weight)


def _with_reason(pool: Pool, row: int) -> str:
    found = bad_image(pool, row)
    return pool.named_with_images(row) if found is None else f"{pool.named(row)}, {excerpt(found.path)}: {found.why}"


def _rows(pool: Pool, name: str, rows: list[int], advice: str, weight: Weight) -> Finding:
    """A finding about ``rows``; its examples are the first of them, by their place in the pool's file."""
    shown = [pool.named_with_images(row) for row in rows[:EXAMPLES]]
    return Finding(name, len(rows), in_file(pool), shown, advice, weight)


def _texts(pool: Pool, limit: Limit) -> tuple[list[int], list[int]]:
    """Rows with damaged text, and rows that are too long; a batch of rows at a time."""
    damaged, long, start = [], [], 0
    for batch in pool.table.select(["turns"]).to_batches():
        turns = batch.column(0)
        texts = pc.struct_field(turns.flatten(), "text")
        row_of = pc.list_parent_indices(turns).to_numpy()
        hurt = pc.match_substring_regex(texts, DAMAGE).to_numpy(zero_copy_only=False)
        damaged += (start + np.unique(row_of[hurt])).tolist()
        long += (start + _long(texts, row_of, batch.num_rows, limit)).tolist()
        start += batch.num_rows
    return damaged, long


def _long(texts: pa.StringArray, row_of: np.ndarray, rows: int, limit: Limit) -> np.ndarray:
    """Rows of a batch whose turns together are longer than the limit, [found] of int64."""
    count = pc.utf8_length if limit.lengths is None else pc.binary_length  # no token is shorter than a byte
    sizes = np.bincount(row_of, count(texts).to_numpy(), rows)
    found = np.flatnonzero(sizes > limit.most)
    if limit.lengths is None or not len(found):
        return found
    asked = np.flatnonzero(np.isin(row_of, found))
    tokens = np.asarray(limit.lengths(texts.take(pa.array(asked)).to_pylist()))
    return np.flatnonzero(np.bincount(row_of[asked], tokens, rows) > limit.most)
