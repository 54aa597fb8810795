"""Can a pool of more than 2 GiB of text be opened, chosen from and trained on, and does memory grow with its rows?

python experiments/performance/large_pool.py [--rows 5000000] [--characters 500] [--out FOLDER] [--cache FOLDER]

An Arrow array holds at most 2 GiB of text, so a pool of more comes in several, which Arrow cannot join.
The file is made up (rows of one question without an image), written beside the result and deleted again. The model is
the built-in one. Against it stands a pool of an eighth of the rows. Compared is the memory that a process has of
its own: pages of mapped files are the disk cache's, and the system takes them back when it needs them. Linux only.
"""

import json
import shutil
import sys
import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.own_memory import OwnMemory, own_memory
from experiments.performance.sides import ROOT, Comparison, Side, keep, measure
from selectmm.features.feature import Features
from selectmm.methods.random import Random
from selectmm.pool.llava_json import open_llava_json
from selectmm.quickstart.embedded import open_model
from selectmm.tuning import job
from selectmm.tuning.finetune import finetune
from selectmm.tuning.recipe import Recipe, Strategy

ROWS, CHARACTERS = 5_000_000, 500
SHARE = 8  # the smaller pool has this fraction of the rows
FLAT = 1.1  # most memory of 8 times the rows


def opened(file: Path, cache: Path) -> Callable[[], np.ndarray]:
    """The pool read for the first time, or again."""

    def run() -> np.ndarray:
        own = OwnMemory()
        rows = len(open_llava_json(str(file), str(file.parent), "stop", cache))
        return np.array([own.before, own.most, rows])

    return run


def trained(file: Path, cache: Path, models: Path) -> Callable[[], np.ndarray]:
    """A random 30 % is chosen, written as a training's rows, and the model is trained on it for one step."""
    vlm = open_model("float32", "cpu", str(models))
    values = OmegaConf.to_container(OmegaConf.load(ROOT / "configs/recipe/embedded.yaml"))
    recipe = replace(Recipe(**{name: value for name, value in values.items() if name != "_target_"}), epochs=1e-9)

    def run() -> np.ndarray:
        own = OwnMemory()
        pool = open_llava_json(str(file), str(file.parent), "stop", cache)
        subset = Random().select(pool, Features({}), round(0.3 * len(pool)), np.random.default_rng(0))
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            job.write_rows(Path(folder), pool, np.arange(len(pool)))
            finetune(vlm, pool, subset.rows, recipe, Strategy("single", 1), 0, Path(folder), lambda entry: None)
        return np.array([own.before, own.most, len(pool), len(subset.rows)])

    return run


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    parser = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--characters", type=int, default=CHARACTERS)
    parser.add_argument("--out", type=Path, default=Path("outputs/performance"))
    parser.add_argument("--cache", type=Path, default=Path("outputs/cache"))
    given = parser.parse_args(arguments)
    place = given.out / "large_pool"
    try:
        sizes = [given.rows // SHARE, given.rows]
        few, many = (
            _measured(write_rows(place / f"{rows}.json", rows, given.characters), given.cache) for rows in sizes
        )
    finally:
        shutil.rmtree(place, ignore_errors=True)
    settings = {"rows": given.rows, "gigabytes of text": round(given.rows * given.characters / 1e9, 2)}
    judged = given.rows * given.characters > 2**31
    names = ("opened for the first time", "chosen from and trained on for a step")
    comparisons = [
        Comparison(f"a pool of {sizes[1]:,} rows, {name}", f"{sizes[0]:,} rows", ours, theirs, FLAT if judged else None,
                   at_least=False, of="peak")
        for name, ours, theirs in zip(names, many, few, strict=True)
    ]  # fmt: skip
    return keep("large_pool", settings, comparisons, given.out)


def _measured(file: Path, models: Path) -> tuple[Side, Side]:
    cache = file.with_suffix("")
    first, (*held, _) = measure(opened, file, cache)
    after, (*then, rows, kept) = measure(trained, file, cache, models.resolve())
    if kept != round(0.3 * rows):
        raise RuntimeError(f"{kept} of {rows} rows were chosen")
    return own_memory(first, held), own_memory(after, then)


def write_rows(path: Path, rows: int, characters: int) -> Path:
    """A LLaVA JSON of text-only rows whose answers have so many characters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = "the quick brown fox jumps over the lazy dog " * (characters // 44 + 1)
    with path.open("w") as stream:
        for row in range(rows):
            said = [{"from": "human", "value": f"Which row? {row}"}, {"from": "gpt", "value": words[:characters]}]
            stream.write(("[" if row == 0 else ",\n") + json.dumps({"id": str(row), "conversations": said}))
        stream.write("]")
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
