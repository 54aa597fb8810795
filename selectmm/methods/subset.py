"""A subset: the file that stands between selection and training."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from selectmm.cache.arrays import load_numbers
from selectmm.cache.reading import Mismatch, named, read
from selectmm.cache.stage import fingerprint, write_atomically
from selectmm.errors import UserError
from selectmm.features.feature import NO_ANSWER
from selectmm.pool.pool import Pool
from selectmm.records.checks import check_content


@dataclass(frozen=True, eq=False)
class Subset:
    """A multiset of rows of a pool, and the scores behind it.

    Attributes:
        rows: positions in the pool, [n] of int64, ascending; a position that stands twice is trained on twice.
        scores: [rows of the pool] of float64, NaN where a row was not scored; None if the method has no score.
        excluded: rows that could not be chosen, by reason.

    Raises:
        UserError: rows are no positions: a mask or fractions would be read as other rows than were meant.
    """

    rows: np.ndarray
    scores: np.ndarray | None = None
    excluded: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = np.asarray(self.rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise UserError(
                f"A subset's rows are positions in the pool, whole numbers in one dimension, not {rows.dtype} of shape "
                f"{rows.shape}; np.flatnonzero makes positions of a mask."
            )
        object.__setattr__(self, "rows", np.sort(rows.astype(np.int64)))

    @property
    def fingerprint(self) -> str:
        """Of the rows alone: two methods that keep the same rows train the same model."""
        return fingerprint({"rows": self.rows.tolist()})

    def coverage(self, pool: Pool) -> dict[str, object]:
        """Rows in, scored, without image, kept and excluded, in all and per source."""
        scored = np.zeros(len(pool), bool) if self.scores is None else np.isfinite(self.scores)
        blind = pool.image_of < 0
        by = [Counter(pool.sources[rows].tolist()) for rows in (scored, blind, self.rows)]
        names = ("scored", "without_image", "kept")
        return {
            "rows": len(pool),
            "scored": int(scored.sum()),
            "without_image": int(blind.sum()),
            "kept": len(self.rows),
            "kept_distinct": len(np.unique(self.rows)),
            "excluded": self.excluded,
            "per_source": {
                source: {"pool": count, **{name: c.get(source, 0) for name, c in zip(names, by, strict=True)}}
                for source, count in pool.counts().items()
            },
        }


def coverage_lines(subset: Subset, pool: Pool) -> list[str]:
    """The coverage as lines to print: what happened to the rows, then kept of pool per source."""
    report = subset.coverage(pool)
    happened = [f"{report['scored']:,} rows scored, {report['without_image']:,} without image"]
    if not report["scored"]:  # "0 rows scored" would read like a failure, where a method scores nothing
        happened = []
    happened += [f"{count:,} excluded: {why}" for why, count in subset.excluded.items()]
    kept = [f"{name} {counts['kept']:,}/{counts['pool']:,}" for name, counts in report["per_source"].items()]
    sources = [", ".join(kept[start : start + 6]) for start in range(0, len(kept), 6)]
    return [", ".join(happened), *sources] if happened else sources


def unanswered(values: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Losses or errors [rows] as float64 with NaN for rows that have no answer token, and how many those are."""
    found = np.where(values == NO_ANSWER, np.nan, np.asarray(values, np.float64))
    missing = int(np.isnan(found).sum())
    return found, {"no answer token within recipe.max_length": missing} if missing else {}


def save_subset(subset: Subset, pool: Pool, folder: Path) -> None:
    """Write ``subset.json`` (rows, digests' fingerprint, coverage) and, if there are scores, ``scores.npy``."""
    if subset.scores is not None:
        np.save(folder / "scores.npy", subset.scores)
    entry = {
        "pool": pool.fingerprint,
        "fingerprint": subset.fingerprint,
        "coverage": subset.coverage(pool),
        "excluded": subset.excluded,
        "rows": subset.rows.tolist(),
    }
    write_atomically(folder / "subset.json", json.dumps(entry))


def load_subset(file: Path, pool: Pool) -> Subset:
    """Read the ``subset.json`` that `save_subset` wrote, and the scores beside it; others may have touched both.

    Raises:
        UserError: there is no such file, it is no subset, holds what no subset can, or was made from another pool.
    """
    if not file.is_file():
        raise UserError(f"There is no {file.name} in {file.parent}; give the folder of a subset that was chosen here.")
    entry = _entry(file)
    if entry["pool"] != pool.fingerprint:
        raise UserError(
            f"The subset {file} was made from pool {named(entry['pool'])}, but the pool here is {pool.fingerprint}: "
            f"rows would not mean the same; select again from this pool."
        )
    rows = entry["rows"]
    if not isinstance(rows, list) or not all(type(row) is int and 0 <= row < len(pool) for row in rows):
        raise UserError(f"{file} lists other rows than 0 to {len(pool) - 1}: it was changed; select again.")
    return Subset(np.array(rows, np.int64), _scores(file.with_name("scores.npy"), len(pool)), entry["excluded"])


def _entry(file: Path) -> dict[str, object]:
    try:
        entry = json.loads(file.read_bytes())
    except OSError as problem:
        raise UserError(f"{file} cannot be read ({problem.strerror}); give a subset that can.") from problem
    except (ValueError, RecursionError) as problem:
        raise UserError(f"{file} is not JSON ({problem}); select again.") from problem
    if not (isinstance(entry, dict) and {"pool", "rows", "excluded"} <= entry.keys()):
        raise UserError(f"{file} is not a subset that this project wrote; it needs pool, rows and excluded.")
    try:
        check_content(entry["excluded"])
        told = {"pool": read(str, entry["pool"], "pool")}
        return {**entry, **told, "excluded": read(Mapping[str, int], entry["excluded"], "excluded")}
    except Mismatch as problem:
        raise UserError(f"{file} is not a subset that this project wrote ({problem}); select again.") from problem


def _scores(file: Path, rows: int) -> np.ndarray | None:
    if not file.exists():
        return None
    try:
        scores = load_numbers(file)
    except Mismatch as problem:
        raise UserError(f"{file} is no plain .npy array ({problem}); select again.") from problem
    if scores.shape != (rows,) or scores.dtype.kind != "f":
        raise UserError(f"{file} does not hold one number per row of the pool; select again.")
    return scores
