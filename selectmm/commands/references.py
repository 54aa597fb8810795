"""Measure the untuned model on a suite: with the right images, without images, and with other items' images.

Writes 'results/references/<suite>.json', which tables print above their rows, and beside it a record of how it was
made. Options are those of a run: 'selectmm references suite=mini model=embedded'. For a second model on the same suite
name another file, with references=FILE.json here and in its runs.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from selectmm.cache.provenance import provenance
from selectmm.cache.stage import run_stage, write_atomically
from selectmm.command_line.arguments import read_arguments
from selectmm.command_line.reading import read_config
from selectmm.commands._own_decoding import refuse_engine
from selectmm.errors import UserError
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.results import identity_of, read_manifest
from selectmm.evaluation.suite import Images, Score
from selectmm.instantiate import build
from selectmm.report.references import Reference, check_free
from selectmm.screen import answer
from selectmm.stages.suite_data import check_data


def main(arguments: Sequence[str]) -> None:
    """Evaluate the base three times (images shown, left out, exchanged) and write both files.

    Raises:
        UserError: of the configuration, the model or the evaluation; an engine was asked for; or the file holds the
            scores of another model.
    """
    experiment = build(read_config(read_arguments(_parser(), arguments).choices), "full")
    refuse_engine(experiment.engine, "references")
    to, suite = _file(experiment.config["references"]), experiment.suite
    check_data(suite)  # before weights are read or fetched, which may take minutes
    vlm = experiment.open_model()
    check_free(to, vlm.identity, [benchmark.name for benchmark in suite.benchmarks], suite.limit)
    scores: dict[Images, list[Score]] = {}
    for images in ("shown", "blind", "shuffled"):
        identity = {"model": vlm.identity, "suite": identity_of(suite), "images": images, "seed": experiment.seed}

        def make(folder: Path, images: Images = images) -> None:
            evaluate(vlm, suite, folder, experiment.seed, images)

        stage = run_stage(experiment.cache, "reference", identity, make)
        scores[images] = evaluate(vlm, suite, stage.folder, experiment.seed, images)  # finished: only read back
        if images == "shown":
            manifest = read_manifest(stage.folder, suite)
    references = references_of(scores)
    to.parent.mkdir(parents=True, exist_ok=True)
    content = {name: asdict(reference) for name, reference in references.items()}
    write_atomically(to, json.dumps(content, indent=1) + "\n")
    record = {"model": vlm.identity, "suite": manifest, "seed": experiment.seed, "provenance": asdict(provenance())}
    write_atomically(to.with_suffix(".record.json"), json.dumps(record, indent=1) + "\n")
    print(f"References  {to}")
    answer({"file": to, "references": content})


def _file(given: str | None) -> Path:
    if given is None or Path(given).suffix != ".json":
        raise UserError(f"selectmm references writes to references=FILE.json, and references is {given or 'null'}.")
    return Path(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("selectmm references", description=__doc__)
    parser.add_argument("choices", nargs="*", help="group=name and key=value, as for a run: suite=mini model=embedded")
    return parser


def references_of(scores: dict[Images, list[Score]]) -> dict[str, Reference]:
    """The references by benchmark; text benchmarks have no image to take away, so theirs are unknown.

    Chance and majority follow from the suite and its items, so they are in every record and not repeated here.
    """
    blind, shuffled = ({s.benchmark: s.value for s in scores[images]} for images in ("blind", "shuffled"))
    return {
        s.benchmark: Reference(blind=blind.get(s.benchmark), shuffled=shuffled.get(s.benchmark), base=s.value)
        for s in scores["shown"]
    }
