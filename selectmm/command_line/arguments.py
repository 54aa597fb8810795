"""Reads the arguments of a command that takes options of a run beside its own."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from selectmm.command_line.reading import known_names
from selectmm.command_line.stray import no_option


def read_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """What the parser reads of a command; options with dashes may stand before and behind those of a run.

    Raises:
        UserError: an option that does not exist, such as ``--pool`` for ``pool=``.
    """
    options = list(parser._option_string_actions)
    for word in arguments:
        name = word.partition("=")[0]
        if name.startswith("--") and not any(option.startswith(name) for option in options):  # it may be shortened
            otherwise = f"'{parser.prog} --help' lists the options."
            raise no_option(word, arguments, known_names(), options, otherwise)
    return parser.parse_intermixed_args(arguments)


def record_parser(command: str, description: str) -> argparse.ArgumentParser:
    """The arguments of a command that starts from a record, or from a folder in its stead."""
    parser = argparse.ArgumentParser(f"selectmm {command}", description=description)
    parser.add_argument(
        "choices",
        nargs="*",
        help="without --record: options of a run; with it: model.path=… or pool.images=… on this machine",
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="the record of a run, a JSON file")
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="cache with the run's stages, if it is not where the record says"
    )
    parser.add_argument(
        "--yes", action="store_true", help="open the files, folders and hub ids that the record names without asking"
    )
    parser.add_argument("--to", type=Path, required=True, metavar="FILE_OR_FOLDER", help="what to write")
    return parser
