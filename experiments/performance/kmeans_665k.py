"""What does one iteration of k-means over LLaVA-665K's vectors cost, with COINCIDE's 10,000 clusters?

python experiments/performance/kmeans_665k.py [--rows 665298] [--clusters 10000] [--out FOLDER]

665,298 × 4,096 numbers in half precision on disk, made up, 5.5 GB, held against reading the file once and against the
memory that a quarter of the rows takes. The published methods make up to 50 iterations.
"""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.clusters import clusters_from_disk, floors
from experiments.performance.sides import keep

__all__ = ["floors"]


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    parser = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=665_298)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--clusters", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = parser.parse_args(arguments)
    comparisons, stated = clusters_from_disk(given.out, given.rows, given.width, given.clusters, given.iterations)
    settings = {name: value for name, value in vars(given).items() if name != "out"}
    return keep("kmeans_665k", settings, comparisons, given.out, floors=[one.record() for one in stated])


if __name__ == "__main__":
    main(sys.argv[1:])
