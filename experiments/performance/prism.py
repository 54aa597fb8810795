"""What do PRISM's scores cost over reading the features once, and against the N×N form?

python experiments/performance/prism.py [--rows 150000] [--width 4096] [--matrix-rows 50000] [--groups 18]

Features are half precision on disk, made up, written beside the result and deleted again. All rows are one group, but
where groups are named; those are drawn at random, so that each block of rows has many. Ours and reading, and one group
and several, are the median of three rounds in which they alternate; beside the N×N form, of three rounds before it and
three behind.
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
from experiments.performance.floor import Floor, Part, cold_reading, products, to_single
from experiments.performance.floor import reading as read_rate
from experiments.performance.sides import Comparison, Side, differs, keep, measure, median
from selectmm.methods.correlation import mean_correlation

ROUNDS = 3
BUFFER = 2**23  # bytes per read
AIMED_AT = 50_000  # rows that the aim against the N×N form is for
LARGE = 150_000  # rows from which the aim against reading holds
BLOCK = 2048  # rows of the N×N matrix at a time: nobody has to hold all of it


def scores(path: Path, rows: int, cold: bool, groups: int = 1) -> Callable[[], np.ndarray]:
    """Ours, from the file."""
    (forget if cold else _read)(path)
    everyone, group = np.arange(rows), np.random.default_rng(0).integers(0, groups, rows)

    def run() -> np.ndarray:
        return mean_correlation(np.load(path, mmap_mode="r"), everyone, group, "corpus_mean")

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
    parser.add_argument("--groups", type=int, nargs="*", default=[18], help="groups of 50,000 rows, against one group")
    parser.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = parser.parse_args(arguments)
    made = [_against_reading(given.out, rows, given.width) for rows in given.rows]
    made += [_against_matrix(given.out, rows, given.width) for rows in given.matrix_rows]
    made += [_against_one_group(given.out, groups, given.width) for groups in given.groups]
    settings = {"rows": given.rows, "width": given.width, "matrix_rows": given.matrix_rows, "groups": given.groups}
    comparisons, stated = ([one for pair in made for one in pair[part]] for part in (0, 1))
    return keep("prism", settings, comparisons, given.out, floors=[one.record() for one in stated])


def floors(path: Path, what: str, ours: Side, cold: bool) -> Floor:
    """The file has to be read three times, and each number turned into single precision as often.

    A row's score needs the mean of all others' unit vectors; a unit vector needs the row's length once it is centred,
    and that needs the mean of all rows: three passes, as long as the rows do not stay in memory. A pass over n rows of
    width d reads 2·n·d bytes. Its sums and products, 10·n·d FLOP in all, could be done while a number is in a register,
    and are not counted. From a cold cache the disk gives the file once, beside that.
    """
    rows, width = np.load(path, mmap_mode="r").shape
    size = path.stat().st_size
    parts = (
        Part("the file read from the disk cache, 3 times", 3 * size, "bytes", read_rate(path)),
        Part("half to single precision, 3 × rows × width", 3 * rows * width, "numbers", to_single(width)),
    )
    beside = (Part("the file read from the disk, once", size, "bytes", cold_reading(path)),) if cold else ()
    return Floor(what, ours.seconds, parts, beside)


def matrix_floor(what: str, rows: int, width: int, theirs: Side) -> Floor:
    """All pairs' products are 2 · rows² · width FLOP (both halves, as PyTorch computes them)."""
    flops = 2.0 * rows**2 * width
    rate = products(BLOCK, width, min(rows, 4 * BLOCK))
    part = Part("all pairs of rows, 2 × rows² × width", flops, "FLOP", rate)
    return Floor(f"the N×N form of: {what}", theirs.seconds, (part,))


Measured = tuple[list[Comparison], list[Floor]]


def _against_reading(folder: Path, rows: int, width: int) -> Measured:
    path = write_features(folder / "features.npy", rows, width, "float16")
    try:
        works = ((reading, path, True), (scores, path, rows, True), (reading, path, False))
        rounds = [[measure(*work) for work in works] for _ in range(ROUNDS)]
        once, cold, again = (median(sides)[0] for sides in zip(*rounds, strict=True))
        size = f"{rows:,} × {width:,} in float16, {rows * width * 2 / 1e9:.1f} GB"
        what = f"PRISM's scores, {size}, cold"
        stated = floors(path, what, cold, cold=True)
    finally:
        path.unlink()
    aim = 2 if rows >= LARGE else None
    return [
        Comparison(what, "reading the file once, cold", cold, once, aim, at_least=False),
        Comparison(f"reading the file once, {size}, warm", "the same, cold", again, once, None),
    ], [stated]


def _against_matrix(folder: Path, rows: int, width: int) -> Measured:
    what = f"PRISM's scores, {rows:,} × {width:,} in float16, warm"
    path = write_features(folder / "features.npy", rows, width, "float16")
    try:
        before = [measure(scores, path, rows, False) for _ in range(ROUNDS)]
        theirs, squared = measure(matrix, path)
        ours, linear = median([*before, *(measure(scores, path, rows, False) for _ in range(ROUNDS))])
        stated = [floors(path, what, ours, cold=False), matrix_floor(what, rows, width, theirs)]
    finally:
        path.unlink()
    aim = 200 if rows == AIMED_AT else None
    return [Comparison(what, "the N×N form", ours, theirs, aim, differs=differs(linear, squared))], stated


def _against_one_group(folder: Path, groups: int, width: int) -> Measured:
    path = write_features(folder / "features.npy", AIMED_AT, width, "float16")
    try:
        rounds = [[measure(scores, path, AIMED_AT, False, some) for some in (groups, 1)] for _ in range(ROUNDS)]
        several, one = (median(sides)[0] for sides in zip(*rounds, strict=True))
        size = f"{AIMED_AT:,} × {width:,} in float16, warm"
        what = f"PRISM's scores, {size}, of {groups} groups"
        stated = floors(path, what, several, cold=False)
    finally:
        path.unlink()
    return [Comparison(what, "the same of one group", several, one, None, at_least=False)], [stated]


def _read(path: Path) -> None:
    buffer = bytearray(BUFFER)
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
