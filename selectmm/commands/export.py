"""Take a tuned model or a chosen subset elsewhere: a Hugging Face folder, or another trainer's data set."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from omegaconf import OmegaConf

from selectmm.door import open_model, open_pool
from selectmm.errors import UserError
from selectmm.export.card import Origin
from selectmm.export.folder import check_free
from selectmm.export.formats import FORMATS
from selectmm.export.model import export_model
from selectmm.export.recorded import cache_of, check_base, config_of
from selectmm.export.subset import export_subset
from selectmm.front import read_config
from selectmm.methods.subset import load_subset
from selectmm.records.cached import adapter_of, subset_of
from selectmm.records.record import RunRecord, load

DTYPES = ("float32", "bfloat16", "float16")


def main(arguments: Sequence[str]) -> None:
    """Export ``model`` or ``subset``, as the first word says.

    Raises:
        UserError: what is asked for is not there, does not fit together, or cannot be written.
    """
    commands = {"model": _model, "subset": _subset}
    what = arguments[0] if arguments else "nothing"
    if what in commands:
        commands[what](arguments[1:])
    elif what in {"-h", "--help"}:
        print(f"{__doc__}\n\n  python -m selectmm export model --help\n  python -m selectmm export subset --help")
    else:
        raise UserError(f"'{what}' cannot be exported; say model or subset.")


def _model(arguments: Sequence[str]) -> None:
    parser = _parser("model", "Merge a run's adapter into its base and write a Hugging Face folder.")
    parser.add_argument("--adapter", type=Path, metavar="FOLDER", help="of an adapter, if it is not the cached one")
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights; by default that in which the base is opened")
    asked = parser.parse_intermixed_args(arguments)
    record = _record(asked, asked.adapter, "--adapter FOLDER and model=…")
    check_free(asked.to)
    adapter = asked.adapter or adapter_of(record, cache_of(record, asked.cache))
    config = _groups(record, asked)["model"]
    vlm = open_model(config)
    if record is not None:
        check_base(vlm, record)
    export_model(vlm, adapter, Origin(config, record), asked.to, getattr(torch, asked.dtype) if asked.dtype else None)
    print(f"Model   {asked.to}")


def _subset(arguments: Sequence[str]) -> None:
    parser = _parser("subset", "Write a run's subset as another trainer's data set.")
    parser.add_argument("--subset", type=Path, metavar="FOLDER", help="with a subset.json, if it is not the cached one")
    parser.add_argument("--format", choices=FORMATS, required=True, help="whose data set it will be")
    parser.add_argument("--absolute", action="store_true", help="absolute image paths, not relative to the pool's")
    asked = parser.parse_intermixed_args(arguments)
    record = _record(asked, asked.subset, "--subset FOLDER and pool=…")
    check_free(asked.to)
    folder = asked.subset or subset_of(record, cache_of(record, asked.cache))
    pool = open_pool(_groups(record, asked)["pool"])
    subset = load_subset(folder / "subset.json", pool)
    marked = export_subset(pool, subset, asked.format, asked.to, record, asked.absolute)
    print(f"Subset  {asked.to}: {len(subset.rows):,} rows")
    if marked:
        print(f"        {len(marked):,} of them hold a placeholder of the trainer in their text; see its README.md")


def _parser(what: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"python -m selectmm export {what}", description=description)
    parser.add_argument(
        "choices", nargs="*", help="without a record: as for a run; with one: model.path=… or pool.images=… of here"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="of the run, a JSON file")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of the stages, if not where the record says")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="new, or empty")
    return parser


def _record(asked: argparse.Namespace, instead: Path | None, otherwise: str) -> RunRecord | None:
    if asked.record is None and instead is None:
        raise UserError(f"Say what to export: --record FILE, or {otherwise}.")
    return load(asked.record) if asked.record else None


def _groups(record: RunRecord | None, asked: argparse.Namespace) -> Mapping[str, Mapping[str, object]]:
    """The ``pool`` and ``model`` groups: a record's, or those of a run with these choices."""
    if record is not None:
        return config_of(record, asked.choices, asked.cache)
    return OmegaConf.to_container(read_config(asked.choices), resolve=True)
