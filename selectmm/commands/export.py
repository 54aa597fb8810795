"""Export a tuned model as a Hugging Face folder, or a subset as another trainer's data set."""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from selectmm.command_line.arguments import read_arguments, record_parser
from selectmm.errors import UserError
from selectmm.export.formats import FORMATS, ORIGINAL

DTYPES = ("float32", "bfloat16", "float16")


def main(arguments: Sequence[str]) -> None:
    """Export ``model`` or ``subset``, as the first word says.

    Raises:
        UserError: what is asked for is not there, does not fit together, or cannot be written.
    """
    parsers = {"model": _model, "subset": _subset}
    what = arguments[0] if arguments else ""
    if what in parsers:
        asked = read_arguments(parsers[what](), arguments[1:])
        # Imported here, because it takes seconds, which the help and a mistyped option should not.
        getattr(importlib.import_module("selectmm.commands._export"), what)(asked)
    elif what in {"-h", "--help"}:
        print(f"{__doc__}\n\n  selectmm export model --help\n  selectmm export subset --help")
    else:
        refused = f"'{what}' cannot be exported; say" if what else "Say"
        raise UserError(f"{refused} what to export: model or subset.")


def _model() -> argparse.ArgumentParser:
    parser = record_parser("export model", "Merge a run's adapter into its base and write a Hugging Face folder.")
    parser.add_argument("--adapter", type=Path, metavar="FOLDER", help="folder of an adapter (default: the cached one)")
    parser.add_argument(
        "--dtype", choices=DTYPES, help="type of the weights (default: that in which the base is opened)"
    )
    return parser


def _subset() -> argparse.ArgumentParser:
    parser = record_parser("export subset", "Write a run's subset as another trainer's data set.")
    parser.add_argument(
        "--subset", type=Path, metavar="FOLDER", help="folder with a subset.json (default: the cached one)"
    )
    parser.add_argument(
        "--format",
        choices=[ORIGINAL, *FORMATS],
        required=True,
        help="format to write; original: your own rows, unchanged",
    )
    parser.add_argument("--absolute", action="store_true", help="write absolute image paths, not relative ones")
    return parser
