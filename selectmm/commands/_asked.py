"""What commands that start from a record, or from a folder in its stead, have in common."""

import argparse
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from selectmm.command_line.reading import plain_of, read_config
from selectmm.commands._recorded import Recorded, confirm, recorded, recorded_cache
from selectmm.errors import UserError
from selectmm.instantiate import open_pool
from selectmm.models.check_rows import as_used
from selectmm.pool.pool import Pool
from selectmm.records.cached import subset_of
from selectmm.records.files import load
from selectmm.records.record import RunRecord


def record_of(asked: argparse.Namespace, instead: Path | None, otherwise: str) -> RunRecord | None:
    """The record that was named; None if something stands ``instead``.

    Raises:
        UserError: neither was named, or the record cannot be read.
    """
    if asked.record is None and instead is None:
        raise UserError(f"Nothing was named: give --record FILE, or {otherwise}.")
    return load(asked.record) if asked.record else None


def groups_of(asked: argparse.Namespace) -> Mapping[str, Mapping[str, Any]]:
    """The ``pool`` and ``model`` groups of a run with these choices, for a command that has no record."""
    return plain_of(read_config(asked.choices))


def from_record(record: RunRecord, group: str, asked: argparse.Namespace) -> tuple[Recorded, Path]:
    """The record's ``pool`` or ``model``, and the root of its cache, after the user agreed to open them.

    Raises:
        UserError: see `recorded` and `confirm`.
    """
    found = recorded(record, group, asked.choices, asked.cache)
    cache, named = recorded_cache(record, asked.cache)
    confirm([*found.named, *named], asked.yes)
    return found, cache


def subset_and_pool(record: RunRecord | None, asked: argparse.Namespace) -> tuple[Path, Pool, Mapping[str, Any]]:
    """The folder of the subset, a record's or the one named, the pool that it was chosen from, and its ``pool`` group.

    The rows that the run's model could not take are not in the pool.

    Raises:
        UserError: they are not there, or the user does not agree to open them.
    """
    if record is None:
        config = groups_of(asked)
        cache = asked.cache or Path(str(config["cache"]))
        pool = as_used(open_pool(config["pool"]), _made_from(asked.subset), cache)
        return asked.subset, pool, config["pool"]
    found, cache = from_record(record, "pool", asked)
    folder = asked.subset or subset_of(record, cache)
    return folder, as_used(found.open(), record.pool.fingerprint, cache), found.entry


def _made_from(subset: Path) -> str:
    """The fingerprint of the pool that a subset's file names; nothing if it cannot be read, which its reader tells."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return str(json.loads((subset / "subset.json").read_bytes())["pool"])
    return ""
