"""A run on a tiny LLaVA up to its record, without the evaluation, which nothing here reads."""

import os
from dataclasses import replace
from pathlib import Path

from omegaconf import open_dict

from selectmm.command_line.reading import ROOT, read_config
from selectmm.instantiate import build
from selectmm.stages.pool import open_pool
from selectmm.stages.record import keep_record, record_of
from selectmm.stages.schedule import learn
from tests.tiny import tiny_llava, write_pool


def recorded_run(place: Path, *choices: str) -> Path:
    """Run with base, pool, cache and records below ``place`` (made the first time); returns the record's file."""
    os.environ["SELECTMM_ROOT"] = str(ROOT)
    if not (place / "base").exists():
        tiny_llava(place / "base")
        write_pool(place / "pool", rows=8)
    config = read_config([*run_choices(place), *choices])
    with open_dict(config):  # as Hydra tells a run
        config.chosen = {"model": "llava15_7b", "pool": "llava_json"}
    made = build(config, next(choice.split("=")[1] for choice in choices if choice.startswith("method=")))
    experiment = replace(made, suite=replace(made.suite, benchmarks=()))
    vlm = experiment.open_model()
    pool = open_pool(experiment, vlm)
    learned = learn(experiment, pool, vlm)
    record = record_of(experiment, pool, vlm, None, learned, learned.tuned, ())
    return keep_record(experiment, record, learned.tuned, learned.tuned)


def run_choices(place: Path) -> list[str]:
    """What the command line of such a run would say."""
    return [
        *model_choices(place),
        *pool_choices(place),
        "suite.tasks=null",
        "recipe.batch_size=2",
        "recipe.micro_batch=2",
        "recipe.rank=4",
        f"cache={place / 'cache'}",
        f"records={place / 'records'}",
        "tracker=none",
        "budget=0.5",
    ]


def model_choices(place: Path) -> list[str]:
    """The base alone."""
    return ["model=llava15_7b", f"model.path={place / 'base'}", "model.device=cpu", "model.dtype=float32"]


def pool_choices(place: Path) -> list[str]:
    """The pool alone."""
    return ["pool=llava_json", f"pool.file={place / 'pool' / 'pool.json'}", f"pool.images={place / 'pool' / 'images'}"]
