"""How much faster do two processes make a feature pass than one?

python experiments/performance/two_ranks.py [--rows 2000] [--out FOLDER]

The pass reads every answer's loss, with one thread a process, on as many cores as there are processes. Both sides get
the values of all rows to the last bit. Two processes have to be started, which takes as long however many rows there
are: a pass over two batches by two processes shows how long, and is left out of the second comparison.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.floor import Floor, Part
from experiments.performance.rows import LIMIT, Rows, parser
from experiments.performance.sides import Comparison, Side, differs, keep, measure
from selectmm.features.answers import AnswerLoss
from selectmm.features.ranks import Ranks
from selectmm.features.store import FeatureStore

AIM = 1.7
BUILD = {"_target_": "selectmm.quickstart.embedded.open_model", "dtype": "float32", "device": "cpu"}


def by(ranks: int, rows: Rows) -> Callable[[], np.ndarray]:
    """A pass by so many processes; the losses, [rows]."""
    torch.set_num_threads(1)
    vlm, pool = rows.open_model(), rows.open_pool()
    several = Ranks(ranks, {**BUILD, "cache": str(Path(rows.cache).resolve())}, None) if ranks > 1 else None

    def run() -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            store = FeatureStore(Path(folder), vlm, rows.batch_size, shard=rows.batch_size, limit=LIMIT, ranks=several)
            return np.array(store.get(pool, [AnswerLoss()])[AnswerLoss()])

    return run


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    given = parser(__doc__.splitlines()[0], rows=2000).parse_args(arguments)
    rows = Rows(given.rows, given.cache, given.batch_size)
    one, expected = measure(by, 1, rows)
    two, found = measure(by, 2, rows)
    started, _ = measure(by, 2, replace(rows, count=2 * rows.batch_size))
    without = replace(two, seconds=two.seconds - started.seconds)
    what = f"losses of {given.rows:,} answers, two processes"
    comparisons = [
        Comparison(what, "one process", two, one, None, differs=differs(found, expected)),
        Comparison(f"{what}, without their start", "one process", without, one, AIM),
    ]
    settings = {"rows": given.rows, "batch_size": given.batch_size}
    figures = {"seconds to start two processes and pass over two batches": round(started.seconds, 2)}
    return keep("two_ranks", settings, comparisons, given.out, figures, [floors(what, two, one).record()])


def floors(what: str, two: Side, one: Side) -> Floor:
    """Half of the seconds that one process takes, if no core had to wait for memory and no process had to start."""
    part = Part("seconds of one process, by two at once", one.seconds, "seconds", 2.0)
    return Floor(what, two.seconds, (part,), remark="Wall clock: the processes are not this one.")


if __name__ == "__main__":
    main(sys.argv[1:])
