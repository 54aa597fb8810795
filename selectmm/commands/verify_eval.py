"""Evaluate a released checkpoint and compare with its released scores.

Options are those of a run: 'selectmm verify-eval model=llava15_7b suite=icons'. For each benchmark, a band says how
far a correct evaluator may be from the released score. For a model whose scores 'selectmm references' recorded on this
suite, those stand in for released ones. The exit status is 1 if a score is outside its band, or if none could be
compared.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from selectmm.cache.progress import wide
from selectmm.command_line.arguments import read_arguments
from selectmm.command_line.reading import read_config
from selectmm.commands._own_decoding import refuse_engine
from selectmm.instantiate import build
from selectmm.paths import here_or_shipped
from selectmm.screen import answer
from selectmm.stages.suite_data import check_data
from selectmm.verification.bands import released_as, released_for
from selectmm.verification.page import show
from selectmm.verification.verify import save, verify


def main(arguments: Sequence[str]) -> None:
    """Evaluate, compare, print, and keep verdicts and manifest as JSON.

    Raises:
        UserError: of the configuration, the model or the evaluation; an engine was asked for; or no released scores are
            known.
    """
    asked = read_arguments(_parser(), arguments)
    experiment = build(read_config(asked.choices), "full")
    refuse_engine(experiment.engine, "verify-eval")
    path, suite = experiment.config["model"].get("path"), experiment.suite
    released = released_as(asked.released) if asked.released else None
    check_data(suite)  # before weights are read or fetched, which may take minutes
    vlm = experiment.open_model()
    references = experiment.config["references"]
    released = released or released_for(path, vlm.identity, here_or_shipped(Path(references)) if references else None)
    found = verify(vlm, suite, released, experiment.cache, experiment.seed)
    show(found, wide())
    file = asked.to / f"{re.sub(r'[^A-Za-z0-9.]+', '_', released.name)}-{suite.name}.json"
    save(found, file)
    print(f"\nVerdicts and the evaluator's manifest  {file}")
    answer({"file": file, **asdict(found)})
    answers = {verdict.answer for verdict in found.verdicts}
    if "outside" in answers or "inside" not in answers:
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("selectmm verify-eval", description=__doc__)
    parser.add_argument("choices", nargs="*", help="group=name and key=value, as for a run: model=… suite=…")
    parser.add_argument(
        "--released", help="name of the checkpoint in the LLaVA-1.5 model zoo, such as 'llava-1.5-13b lora'"
    )
    parser.add_argument(
        "--to", type=Path, default=Path("outputs/verify"), help="folder for the JSON (default: outputs/verify)"
    )
    return parser
