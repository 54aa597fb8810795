"""List benchmark items that occur in a pool, exactly or nearly.

Options are those of a run: 'selectmm contamination pool=embedded suite=mini'.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from selectmm.cache.progress import wide
from selectmm.command_line.arguments import read_arguments
from selectmm.command_line.reading import read_config
from selectmm.contamination.check import check
from selectmm.contamination.page import show
from selectmm.instantiate import build
from selectmm.screen import answer
from selectmm.stages.suite_data import check_data


def main(arguments: Sequence[str]) -> None:
    """Open pool and suite, look for the one in the other and print what was found.

    Raises:
        UserError: of the configuration, the pool or the suite's data.
    """
    experiment = build(read_config(read_arguments(_parser(), arguments).choices), "full")
    check_data(experiment.suite)
    checked, _ = check(experiment.open_pool(), experiment.suite, experiment.cache)
    show(checked, wide())
    found = {name: asdict(one) for name, one in checked.found.items()}
    answer({"found": found, "total": asdict(checked.total), "listing": checked.listing})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("selectmm contamination", description=__doc__)
    parser.add_argument("choices", nargs="*", help="group=name and key=value, as for a run: pool=embedded suite=mini")
    return parser
