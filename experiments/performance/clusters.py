"""What do k-means, nearest neighbours, COINCIDE's greedy choice, D2's graph and farthest points cost?

python experiments/performance/clusters.py [--rows 20000] [--clusters 300] [--direct-rows 2000 20000] [--out FOLDER]

k-means and neighbours read half-precision vectors from disk, made up, and are held against reading the file once (for
k-means over LLaVA-665K see kmeans_665k.py). The three greedy choices are held against their definitions, computed
without what makes ours fast.
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
from experiments.performance.floor import Floor, Part, products, streaming
from experiments.performance.floor import reading as read_rate
from experiments.performance.prism import reading
from experiments.performance.sides import Comparison, Side, differs, keep, measure
from selectmm.methods import mmd
from selectmm.methods.clustering import HELD, Vectors, kmeans, nearest
from selectmm.methods.d2_pruning import descend
from selectmm.methods.farthest import farthest

NEIGHBOURS = 5
AIMED_AT = 20_000  # rows that the aim against the definitions is for
AIM = 50
FLAT = 1.1  # times the memory, for four times the rows


def clusters(path: Path, rows: int, count: int, iterations: int) -> Callable[[], None]:
    """Spherical k-means from the file."""
    forget(path)

    def run() -> None:
        vectors = Vectors(np.load(path, mmap_mode="r"), np.arange(rows), unit=True)
        kmeans(vectors, count, np.random.default_rng(0), spherical=True, iterations=iterations)

    return run


def neighbours(path: Path, rows: int) -> Callable[[], None]:
    """Exact nearest neighbours from the file."""
    forget(path)
    return lambda: nearest(Vectors(np.load(path, mmap_mode="r"), np.arange(rows)), NEIGHBOURS) and None


def made_up(rows: int, width: int) -> np.ndarray:
    """Directions around some centres."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, width))[rng.integers(0, 50, rows)] + rng.normal(size=(rows, width))


def greedy(rows: int, width: int, count: int) -> Callable[[], np.ndarray]:
    """COINCIDE's choice, from the kernel on."""
    kernel = mmd.gaussian(_units(rows, width), 1.0)
    return lambda: mmd.greedy(kernel, count).astype(np.float64)


def greedy_by_definition(rows: int, width: int, count: int) -> Callable[[], np.ndarray]:
    """At each step the three means of every candidate's set are taken anew."""
    kernel = mmd.gaussian(_units(rows, width), 1.0)

    def run() -> np.ndarray:
        chosen: list[int] = []
        for _ in range(count):
            grown = len(chosen) + 1
            inside = kernel[chosen][:, chosen].sum() + 2 * kernel[:, chosen].sum(1) + kernel.diagonal()
            across = kernel[:, chosen].mean(0).sum() + kernel.mean(0)
            loss = kernel.mean() + inside / grown**2 - 2 * across / grown
            loss[chosen] = torch.inf
            chosen.append(int(loss.round(decimals=mmd.DIGITS).argmin()))
        return np.array(chosen, np.float64)

    return run


def _units(rows: int, width: int) -> Vectors:
    return Vectors(made_up(rows, width), np.arange(rows), unit=True)


def graph(rows: int, width: int, count: int) -> Callable[[], np.ndarray]:
    """D2's neighbours, and the choice with its heap."""
    values, own = made_up(rows, width), np.random.default_rng(1).random(rows)

    def run() -> np.ndarray:
        found, away = nearest(Vectors(values, np.arange(rows), unit=True), NEIGHBOURS)
        first = np.round(own + (np.exp(-away) * own[found]).sum(1), 14)
        return descend(first, found, np.exp(-0.4 * away), count).astype(np.float64)

    return run


def graph_by_definition(rows: int, width: int, count: int) -> Callable[[], np.ndarray]:
    """Differences of every pair of rows, all of them sorted, and the highest value looked for among all rows."""
    values, own = made_up(rows, width), np.random.default_rng(1).random(rows)
    values /= np.linalg.norm(values, axis=1, keepdims=True)

    def run() -> np.ndarray:
        found, away = np.empty((rows, NEIGHBOURS), np.int64), np.empty((rows, NEIGHBOURS))
        for row in range(rows):
            distances = ((values - values[row]) ** 2).sum(1)
            distances[row] = np.inf
            found[row] = np.argsort(distances, kind="stable")[:NEIGHBOURS]
            away[row] = distances[found[row]]
        value = np.round(own + (np.exp(-away) * own[found]).sum(1), 14)
        chosen = np.empty(count)
        for step in range(count):
            best = int(value.argmax())
            chosen[step] = best
            for other, distance in zip(found[best], away[best], strict=True):
                value[other] = round(value[other] - value[best] * np.exp(-0.4 * distance), 14)
            value[best] = -np.inf
        return chosen

    return run


def apart(rows: int, width: int, count: int) -> Callable[[], np.ndarray]:
    """DICS' farthest points in blocks."""
    values = made_up(rows, width)
    return lambda: farthest(Vectors(values, np.arange(rows)), count).astype(np.float64)


def apart_by_definition(rows: int, width: int, count: int) -> Callable[[], np.ndarray]:
    """Every row is compared with each chosen one as soon as it is chosen."""
    values = made_up(rows, width)

    def run() -> np.ndarray:
        chosen = [int((values**2).sum(1).argmax())]
        away = np.full(rows, np.inf)
        while len(chosen) < count:
            away = np.minimum(away, ((values - values[chosen[-1]]) ** 2).sum(1))
            chosen.append(int(away.argmax()))
        return np.array(chosen, np.float64)

    return run


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    parser = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="rows on disk of k-means")
    parser.add_argument("--neighbour-rows", type=int, default=20_000, help="rows on disk of exact neighbours")
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--clusters", type=int, default=300, help="of k-means")
    parser.add_argument("--iterations", type=int, default=3, help="of k-means")
    parser.add_argument("--direct-rows", type=int, nargs="*", default=[2000, 6000, 20_000], help="of greedy choices")
    parser.add_argument("--direct-width", type=int, default=256)
    parser.add_argument("--count", type=int, default=100, help="rows that greedy choices take")
    parser.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = parser.parse_args(arguments)
    comparisons, stated = clusters_from_disk(given.out, given.rows, given.width, given.clusters, given.iterations)
    near, least = _neighbours_from_disk(given.out, given.neighbour_rows, given.width)
    comparisons, stated = comparisons + near, stated + least
    for rows in given.direct_rows:
        made = _against_definitions(rows, given.direct_width, given.count)
        stated += floors_of_choices(rows, given.direct_width, given.count, made)
        comparisons += made
    settings = {name: value for name, value in vars(given).items() if name != "out"}
    return keep("clusters", settings, comparisons, given.out, floors=[one.record() for one in stated])


def floors(path: Path, what: str, count: int, iterations: int, ours: Side) -> Floor:
    """Of k-means of n rows of width d: every row is multiplied with every of the k centres in each iteration, 2·n·k·d
    FLOP in double precision, and the file is read once."""
    rows, width = np.load(path, mmap_mode="r").shape
    work = "all rows with all centres, 2 × rows × centres × width × iterations"
    rate = products(4096, width, min(count, 4096), torch.float64)
    return Floor(what, ours.seconds, (_file(path), Part(work, 2 * rows * count * width * iterations, "FLOP", rate)))


def floors_of_neighbours(path: Path, what: str, ours: Side) -> Floor:
    """Of exact neighbours of n rows of width d: all pairs, of which half are enough, n²·d FLOP in double precision, and
    the file read once."""
    rows, width = np.load(path, mmap_mode="r").shape
    rate = products(4096, width, 4096, torch.float64)
    pairs = Part("all pairs of rows once, rows² × width", rows**2 * width, "FLOP", rate)
    return Floor(what, ours.seconds, (_file(path), pairs))


def _file(path: Path) -> Part:
    return Part("the file read from the disk cache, once", path.stat().st_size, "bytes", read_rate(path))


def floors_of_choices(rows: int, width: int, count: int, made: list[Comparison]) -> list[Floor]:
    """Of the three greedy choices, in double precision; n rows of width d, of which m are chosen.

    COINCIDE's reads the whole kernel once, 8·n² bytes, and a row of it for each choice. D2's graph needs all pairs of
    rows, of which half are enough, n²·d FLOP; its heap is not counted. DICS' has to read every row once, 8·n·d bytes.
    """
    memory = streaming()
    parts = (
        Part("the kernel, and a row of it for each choice", 8 * rows * (rows + count), "bytes", memory),
        Part(
            "all pairs of rows once, rows² × width", rows**2 * width, "FLOP", products(4096, width, 4096, torch.float64)
        ),
        Part("every row read once", 8 * rows * width, "bytes", memory),
    )
    return [Floor(c.what, c.ours.seconds, (part,)) for c, part in zip(made, parts, strict=True)]


def clusters_from_disk(
    folder: Path, rows: int, width: int, count: int, iterations: int
) -> tuple[list[Comparison], list[Floor]]:
    """k-means over so many made-up vectors, in time and in memory; and its floor."""
    whole = write_features(folder / "features.npy", rows, width, "float16")
    part = write_features(folder / "quarter.npy", rows // 4, width, "float16")
    passes = f"{iterations} iteration{'s' if iterations > 1 else ''}"
    what = f"k-means, {count:,} clusters, {passes}, {rows:,} × {width:,} in float16"
    try:
        once, _ = measure(reading, whole, True)
        grouped, _ = measure(clusters, whole, rows, count, iterations)
        quarter, _ = measure(clusters, part, rows // 4, count, iterations)
        least = floors(whole, what, count, iterations, grouped)
    finally:
        whole.unlink()
        part.unlink()
    flat = FLAT if rows // 4 * width > HELD else None  # fewer rows are kept in memory, on purpose
    return [
        Comparison(what, "reading the file once, cold", grouped, once, None, at_least=False),
        Comparison(f"{what}: memory", "a quarter of the rows", grouped, quarter, flat, at_least=False, of="peak"),
    ], [least]


def _neighbours_from_disk(folder: Path, rows: int, width: int) -> tuple[list[Comparison], list[Floor]]:
    whole = write_features(folder / "features.npy", rows, width, "float16")
    part = write_features(folder / "quarter.npy", rows // 4, width, "float16")
    what = f"exact neighbours, {rows:,} × {width:,} in float16"
    try:
        once, _ = measure(reading, whole, True)
        near, _ = measure(neighbours, whole, rows)
        few, _ = measure(neighbours, part, rows // 4)
        least = floors_of_neighbours(whole, what, near)
    finally:
        whole.unlink()
        part.unlink()
    return [
        Comparison(what, "reading the file once, cold", near, once, None, at_least=False),
        Comparison(f"{what}: memory", "a quarter of the rows", near, few, FLAT, False, "peak"),
    ], [least]


def _against_definitions(rows: int, width: int, count: int) -> list[Comparison]:
    aim = AIM if rows == AIMED_AT else None
    made = []
    for what, ours, theirs in (
        ("COINCIDE's greedy choice", greedy, greedy_by_definition),
        ("D2's graph and choice", graph, graph_by_definition),
        ("DICS' farthest points", apart, apart_by_definition),
    ):
        (fast, found), (slow, expected) = measure(ours, rows, width, count), measure(theirs, rows, width, count)
        title = f"{what}, {count:,} of {rows:,} × {width:,}"
        wanted = None if ours is apart else aim
        made.append(Comparison(title, "its definition", fast, slow, wanted, differs=differs(found, expected)))
    return made


if __name__ == "__main__":
    main(sys.argv[1:])
