"""What do PRISM's scores cost over reading the features once, and against the N×N form?

python experiments/performance/prism.py [--rows 150000] [--width 4096] [--matrix-rows 50000] [--out FOLDER]

Features are half precision on disk, made up, one group, written beside the result and deleted again.
"""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.disk import forget, write_features
from experiments.performance.sides import Comparison, differs, keep, measure
from selectmm.methods.correlation import mean_correlation

BUFFER = 2**23  # bytes per read
AIMED_AT = 50_000  # rows that the aim against the N×N form is for
LARGE = 150_000  # rows from which the aim against reading holds
BLOCK = 2048  # rows of the N×N matrix at a time: nobody has to hold all of it


def scores(path: Path, rows: int, cold: bool) -> Callable[[], np.ndarray]:
    """Ours, from the file."""
    (forget if cold else _read)(path)
    everyone = np.arange(rows)

    def run() -> np.ndarray:
        return mean_correlation(np.load(path, mmap_mode="r"), everyone, np.zeros_like(everyone), "corpus_mean")

    return run


def reading(path: Path, cold: bool) -> Callable[[], None]:
    """The file's bytes, once, into one buffer."""
    (forget if cold else _read)(path)
    return lambda: _read(path)


def matrix(path: Path) -> Callable[[], np.ndarray]:
    """The definition: every pair's correlation; PyTorch's matrix product in float32, all features in memory."""
    _read(path)

    def run() -> np.ndarray:
        units = torch.from_numpy(np.load(path)).float()
        units -= units.mean(0)
        units /= units.norm(dim=1, keepdim=True)
        sums = torch.cat([(some @ units.T).sum(1) for some in units.split(BLOCK)])
        return ((sums - 1) / (len(units) - 1)).double().numpy()

    return run


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    parser = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[150_000], help="rows read from a cold cache")
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--matrix-rows", type=int, nargs="*", default=[12_500, 50_000], help="rows of the N×N form")
    parser.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = parser.parse_args(arguments)
    comparisons = [c for rows in given.rows for c in _against_reading(given.out, rows, given.width)]
    comparisons += [_against_matrix(given.out, rows, given.width) for rows in given.matrix_rows]
    settings = {"rows": given.rows, "width": given.width, "matrix_rows": given.matrix_rows}
    return keep("prism", settings, comparisons, given.out)


def _against_reading(folder: Path, rows: int, width: int) -> list[Comparison]:
    path = write_features(folder / "features.npy", rows, width, "float16")
    try:
        once, _ = measure(reading, path, True)
        cold, _ = measure(scores, path, rows, True)
        again, _ = measure(reading, path, False)
    finally:
        path.unlink()
    aim = 2 if rows >= LARGE else None
    size = f"{rows:,} × {width:,} in float16, {rows * width * 2 / 1e9:.1f} GB"
    return [
        Comparison(f"PRISM's scores, {size}, cold", "reading the file once, cold", cold, once, aim, at_least=False),
        Comparison(f"reading the file once, {size}, warm", "the same, cold", again, once, None),
    ]


def _against_matrix(folder: Path, rows: int, width: int) -> Comparison:
    path = write_features(folder / "features.npy", rows, width, "float16")
    try:
        (ours, linear), (theirs, squared) = measure(scores, path, rows, False), measure(matrix, path)
    finally:
        path.unlink()
    what = f"PRISM's scores, {rows:,} × {width:,} in float16, warm"
    return Comparison(
        what, "the N×N form", ours, theirs, 200 if rows == AIMED_AT else None, differs=differs(linear, squared)
    )


def _read(path: Path) -> None:
    buffer = bytearray(BUFFER)
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
