"""What does ScalSelect's selection cost against centring and two thin SVDs in memory?

python experiments/performance/scalselect.py [--rows 40000] [--width 1024] [--out FOLDER]

The authors' script decomposes twice: once for the rank, once for the scores. Features are float32 on disk, made up,
written beside the result and deleted again; both sides read them from a warm cache.
"""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.disk import write_features
from experiments.performance.sides import Comparison, differs, keep, measure
from selectmm.methods.leverage import leverage, rank_of
from selectmm.methods.order import ranked

ENERGY = 0.9
KEPT = 0.3  # share of the rows
AIMED_AT, AIMS = (40_000, 1024), (15, 0.1)  # the size that the aims are for; times faster, share of the memory


def by_gram(path: Path) -> Callable[[], np.ndarray]:
    """Ours: leverage from the Gram matrix, a block at a time, and the rows that are kept."""

    def run() -> np.ndarray:
        values = np.load(path, mmap_mode="r")
        found = leverage(values, np.arange(len(values)), ENERGY, centering=True)
        ranked(found, int(KEPT * len(found)), "high")
        return found

    return run


def by_two_svds(path: Path) -> Callable[[], np.ndarray]:
    """The plain form, all in memory and in float32."""

    def run() -> np.ndarray:
        values = torch.from_numpy(np.load(path))
        values = values - values.mean(0)
        _, singular, _ = torch.linalg.svd(values, full_matrices=False)
        k = rank_of(singular.double().square(), ENERGY)
        left, _, _ = torch.linalg.svd(values, full_matrices=False)
        found = left[:, :k].square().sum(1).double().numpy()
        ranked(found, int(KEPT * len(found)), "high")
        return found

    return run


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    parser = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = parser.parse_args(arguments)
    path = write_features(given.out / "features.npy", given.rows, given.width, "float32")
    try:
        (ours, found), (theirs, expected) = measure(by_gram, path), measure(by_two_svds, path)
    finally:
        path.unlink()
    what = f"ScalSelect's scores and choice, {given.rows:,} × {given.width:,} in float32"
    sides = "centring and two thin SVDs in memory", ours, theirs
    faster, smaller = AIMS if (given.rows, given.width) == AIMED_AT else (None, None)
    comparisons = [
        Comparison(what, *sides, faster, differs=differs(found, expected)),
        Comparison(what, *sides, smaller, at_least=False, of="grown"),
    ]
    settings = {"rows": given.rows, "width": given.width, "rank": round(float(found.sum()))}
    return keep("scalselect", settings, comparisons, given.out)


if __name__ == "__main__":
    main(sys.argv[1:])
