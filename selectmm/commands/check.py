"""Check that a method satisfies the contract of methods; needs no model, no pool and no network.

selectmm check method=prism [method.layer=2]
selectmm check --config-dir conf method=mine

The method selects from made-up pools: several sources, text-only rows, rows that share an image, identical rows, one
row. It has to keep as many rows as it is asked for, none of them twice, give the same subset for the same seed, and the
same rows whatever order the pool is stored in. If it breaks a rule, the rule and its usual cause are named, and the
exit status is 1.
"""

import argparse
import inspect
import traceback
from collections.abc import Sequence

from omegaconf import OmegaConf

from selectmm.command_line.arguments import read_arguments
from selectmm.command_line.reading import plain_of, read_config
from selectmm.errors import UserError
from selectmm.instantiate import open_method
from selectmm.methods.check import check_method
from selectmm.methods.method import Method
from selectmm.screen import answer


def main(arguments: Sequence[str]) -> None:
    """Check the method and say what was found.

    Raises:
        UserError: the command cannot be understood, or an option of the method is not set.
        SystemExit: with status 1, the method breaks a rule or fails.
    """
    asked = read_arguments(_parser(), arguments)
    config = read_config(asked.choices)
    unset = sorted(OmegaConf.missing_keys(config.method))
    if unset:
        raise UserError(f"Not set: {', '.join(unset)}; give {unset[0]}=… on the command line.")
    method = open_method(plain_of(config.method))
    try:
        check_method(method, repeats=asked.repeats)
    except AssertionError as broken:
        if not str(broken):
            raise SystemExit(_failed(broken, method)) from broken
        raise SystemExit(f"{broken}.") from broken
    except UserError:
        raise
    except Exception as problem:  # the method's own code, which may raise anything
        raise SystemExit(_failed(problem, method)) from problem
    print(
        f"{method} satisfies the contract: as many rows as asked for, none twice, the same for the same seed and in "
        f"whatever order the pool is stored."
    )
    answer({"method": str(method), "keeps_contract": True})


def _failed(problem: Exception, method: Method) -> str:
    """What a method raised, and where in its own file."""
    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if frame.filename == inspect.getfile(type(method))]
    at = (own or frames)[-1]
    return (
        f"The method raised {type(problem).__name__}: {problem} ({at.filename}, line {at.lineno}: {at.line}). It has "
        f"to select from any pool: one row, identical rows, rows without images, and a budget of one row or of all."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "selectmm check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("choices", nargs="*", help="the method and its options, as for a run: method=… method.option=…")
    parser.add_argument("--repeats", action="store_true", help="the method may keep a row more than once, on purpose")
    return parser
