"""What `selectmm select` writes: one file of rows, or a folder with a file for each method and a table of overlap."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from selectmm.errors import UserError
from selectmm.export.folder import check_free, check_new, new_file, new_folder
from selectmm.export.formats import ORIGINAL
from selectmm.export.original import Original, check_unchanged, ending_of, original_of
from selectmm.methods.subset import Subset
from selectmm.pool.places import places_of
from selectmm.pool.pool import Pool

INDICES = "indices"
FORMATS = (ORIGINAL, INDICES)
OVERLAP = "overlap.md"


@dataclass(frozen=True)
class Chosen:
    """Subsets of one pool by the names of their methods.

    Attributes:
        entry: the ``pool`` group that the pool was read by.
        state: of its files before they were read, see `selectmm.export.original.state_of`.
    """

    pool: Pool
    subsets: Mapping[str, Subset]
    entry: Mapping[str, Any]
    state: Mapping[str, tuple[int, int]]


def check_target(to: Path, format_name: str, several: bool, entry: Mapping[str, Any]) -> None:
    """Whether ``to`` is free, said before anything long starts; ``entry`` is the ``pool`` group of the configuration.

    Raises:
        UserError: it is not, or its name does not fit what will be written.
    """
    ending = ending_of(entry) if format_name == ORIGINAL else ".json"
    if several:
        if to.suffix in (".json", ".jsonl", ".ndjson", ".parquet", ".tar"):
            raise UserError(f"Several methods are written to a folder, not to a file; give --to {to.with_suffix('')}.")
        check_free(to)
        return
    check_new(to)
    if to.suffix.lower() != ending:
        what = "The rows are written as the pool has them" if format_name == ORIGINAL else "Places are written as JSON"
        raise UserError(f"{what}; give --to {to.with_suffix(ending)}.")


def check_rows(pool: Pool, format_name: str, entry: Mapping[str, Any]) -> None:
    """Whether rows of the pool can be written so, said before any are chosen.

    Raises:
        UserError: see `original_of`.
    """
    if format_name == ORIGINAL:
        original_of(entry, pool)


def write_chosen(chosen: Chosen, to: Path, format_name: str, several: bool) -> list[str]:
    """Write the rows; returns lines that say where, and how much the subsets have in common.

    Raises:
        UserError: a file cannot be written, or the pool's changed meanwhile.
    """
    check_unchanged(chosen.entry, chosen.state)
    original = original_of(chosen.entry, chosen.pool) if format_name == ORIGINAL else None
    ending = original.ending if original else ".json"
    if not several:
        (subset,) = chosen.subsets.values()
        with new_file(to) as file:
            _write(chosen.pool, subset, original, file)
        return [f"Rows    {to}"]
    with new_folder(to) as folder:
        for name, subset in chosen.subsets.items():
            _write(chosen.pool, subset, original, folder / f"{name.replace('/', '-')}{ending}")
        table = overlap_table(chosen.subsets, len(chosen.pool))
        (folder / OVERLAP).write_text("\n".join(table) + "\n", encoding="utf-8")
    return [f"Rows    {to}/<method>{ending}; the table below is {to}/{OVERLAP}", "", *table]


def _write(pool: Pool, subset: Subset, original: Original | None, to: Path) -> None:
    if original is not None:
        original.write(places_of(pool, subset.rows), to)
        return
    entries = ",\n".join(json.dumps(pool.place_of(row), ensure_ascii=False) for row in subset.rows.tolist())
    to.write_text(f"[{entries}]\n", encoding="utf-8")


def overlap_table(subsets: Mapping[str, Subset], pool_rows: int) -> list[str]:
    """A Markdown table: for each pair the rows that both keep, as a share of the smaller subset, and by chance."""
    rows = {name: np.unique(subset.rows) for name, subset in subsets.items()}
    shared = {frozenset(pair): _shared(rows[pair[0]], rows[pair[1]]) for pair in combinations(rows, 2)}
    lines = [
        "Rows that two methods both keep, in per cent of the smaller subset (in brackets: two random draws of these "
        "sizes).",
        "",
        f"| | rows | {' | '.join(rows)} |",
        f"|---|---:|{'---:|' * len(rows)}",
    ]
    for name, mine in rows.items():
        cells = ["–" if name == other else f"{100 * shared[frozenset((name, other))]:.0f}" for other in rows]
        chance = [f" ({100 * max(len(mine), len(rows[other])) / pool_rows:.0f})" for other in rows]
        row = [cell if cell == "–" else cell + by for cell, by in zip(cells, chance, strict=True)]
        lines.append(f"| {name} | {len(mine):,} | {' | '.join(row)} |")
    return lines


def _shared(first: np.ndarray, second: np.ndarray) -> float:
    return len(np.intersect1d(first, second, assume_unique=True)) / min(len(first), len(second))
