"""What does ScalSelect's selection cost against centring and two thin SVDs in memory?

python experiments/performance/scalselect.py [--rows 40000] [--width 1024] [--out FOLDER]

The authors' script decomposes twice: once for the rank, once for the scores. Features are float32 on disk, made up,
written beside the result and deleted again; both sides read them from a warm cache. Each side is the median of three
rounds in which they alternate.
"""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import eigvalsh

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.disk import write_features
from experiments.performance.floor import MIB, Floor, Part, products, rate_of, reading
from experiments.performance.sides import Comparison, Side, differs, keep, measure, median
from selectmm.methods.leverage import BLOCK, leverage, rank_of
from selectmm.methods.order import ranked

ROUNDS = 3
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
    what = f"ScalSelect's scores and choice, {given.rows:,} × {given.width:,} in float32"
    try:
        rounds = [[measure(work, path) for work in (by_gram, by_two_svds)] for _ in range(ROUNDS)]
        (ours, found), (theirs, expected) = (median(sides) for sides in zip(*rounds, strict=True))
        stated = [one.record() for one in floors(path, what, ours, round(float(found.sum())))]
    finally:
        path.unlink()
    sides = "centring and two thin SVDs in memory", ours, theirs
    faster, smaller = AIMS if (given.rows, given.width) == AIMED_AT else (None, None)
    comparisons = [
        Comparison(what, *sides, faster, differs=differs(found, expected)),
        Comparison(what, *sides, smaller, at_least=False, of="grown"),
    ]
    settings = {"rows": given.rows, "width": given.width, "rank": round(float(found.sum()))}
    return keep("scalselect", settings, comparisons, given.out, floors=stated)


def floors(path: Path, what: str, ours: Side, rank: int) -> list[Floor]:
    """Time and memory of n rows of width d, of which k directions count.

    Time: the rows are read twice (mean and inner products, scores). Inner products of the columns are 2·n·d² FLOP,
    half of them because the matrix is symmetric; scores are 2·n·d·k. Its eigenvalues in double precision cost 4/3·d³
    FLOP, at the rate of LAPACK's own routine on a matrix of this size. Memory: a block of rows in single precision, the
    matrix of inner products in double precision, and the copy that LAPACK uses up.
    """
    rows, width = np.load(path, mmap_mode="r").shape
    held = min(rows, BLOCK)
    parts = (
        Part("the file read from the disk cache, twice", 2 * path.stat().st_size, "bytes", reading(path)),
        Part("inner products of columns, rows × width²", rows * width**2, "FLOP", products(width, held, width)),
        Part("eigenvalues, 4/3 × width³", 4 / 3 * width**3, "FLOP", eigenvalues(width)),
        Part("scores, 2 × rows × width × rank", 2 * rows * width * rank, "FLOP", products(held, width, rank)),
    )
    memory = (
        Part(f"{held:,} rows in single precision", held * width * 4, "bytes", MIB),
        Part("the matrix of inner products in double precision, twice", 2 * width**2 * 8, "bytes", MIB),
    )
    return [Floor(what, ours.seconds, parts), Floor(what, ours.grown, memory, unit="MiB")]


def eigenvalues(width: int) -> float:
    """FLOP per second of LAPACK's eigenvalues of a symmetric matrix in double precision, counted as 4/3 · width³."""
    matrix = np.random.default_rng(0).normal(size=(width, width))
    matrix += matrix.T
    return rate_of(lambda: eigvalsh(matrix, lower=False), 4 / 3 * width**3, tries=3)


if __name__ == "__main__":
    main(sys.argv[1:])
