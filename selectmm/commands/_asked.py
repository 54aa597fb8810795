"""What commands that start from a record, or from a folder in its stead, have in common."""

import argparse
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from omegaconf import OmegaConf

from selectmm.door import open_pool
from selectmm.errors import UserError
from selectmm.front import read_config
from selectmm.models.check_rows import as_used
from selectmm.pool.pool import Pool
from selectmm.records.cached import cache_of, config_of
from selectmm.records.record import RunRecord, load


def parser_of(command: str, description: str) -> argparse.ArgumentParser:
    """The arguments that they share; read them with ``parse_intermixed_args``."""
    parser = argparse.ArgumentParser(f"python -m selectmm {command}", description=description)
    parser.add_argument(
        "choices", nargs="*", help="without a record: as for a run; with one: model.path=… or pool.images=… of here"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="of the run, a JSON file")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of the stages, if not where the record says")
    parser.add_argument("--to", type=Path, required=True, help="what to write")
    return parser


def record_of(asked: argparse.Namespace, instead: Path | None, otherwise: str) -> RunRecord | None:
    """The record that was named; None if something stands ``instead``.

    Raises:
        UserError: neither was named, or the record cannot be read.
    """
    if asked.record is None and instead is None:
        raise UserError(f"Say which: --record FILE, or {otherwise}.")
    return load(asked.record) if asked.record else None


def groups_of(record: RunRecord | None, asked: argparse.Namespace) -> Mapping[str, Mapping[str, object]]:
    """The ``pool`` and ``model`` groups: a record's, or those of a run with these choices."""
    if record is not None:
        return config_of(record, asked.choices, asked.cache)
    return OmegaConf.to_container(read_config(asked.choices), resolve=True)


def pool_of(record: RunRecord | None, asked: argparse.Namespace, subset: Path) -> Pool:
    """The pool that the subset in a folder was chosen from, without the rows that the run's model could not take."""
    config = groups_of(record, asked)
    pool = open_pool(config["pool"])
    cache = cache_of(record, asked.cache) if record is not None else asked.cache or Path(str(config["cache"]))
    return as_used(pool, record.pool.fingerprint if record is not None else _made_from(subset), cache)


def _made_from(subset: Path) -> str:
    """The fingerprint of the pool that a subset's file names; nothing if it cannot be read, which its reader tells."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return str(json.loads((subset / "subset.json").read_bytes())["pool"])
    return ""
