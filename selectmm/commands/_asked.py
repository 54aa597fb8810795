"""What commands that start from a record, or from a folder in its stead, have in common."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf

from selectmm.errors import UserError
from selectmm.front import read_config
from selectmm.records.cached import config_of
from selectmm.records.record import RunRecord, load


def parser_of(command: str, description: str) -> argparse.ArgumentParser:
    """The arguments that they share; read them with ``parse_intermixed_args``."""
    parser = argparse.ArgumentParser(f"python -m selectmm {command}", description=description)
    parser.add_argument(
        "choices",
        nargs="*",
        help="without --record: options of a run; with it: model.path=… or pool.images=… on this machine",
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="the record of a run, a JSON file")
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="cache with the run's stages, if it is not where the record says"
    )
    parser.add_argument("--to", type=Path, required=True, help="file or folder to write")
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
