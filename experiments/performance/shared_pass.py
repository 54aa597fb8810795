"""What does the shared pass cost against one method at a time, a naive pass, and a bare loop over ready tensors?

python experiments/performance/shared_pass.py [--rows 480] [--batch-size 32] [--out FOLDER]

Five methods: PRISM, ScalSelect, perplexity, EL2N, DataProphet (on the pool; target examples come on top). Ours is all
of it: opening images, encoding, the pass, writing the stages. Baselines write nothing.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.floor import Floor
from experiments.performance.naive import all_layers, all_layers_for_images, bare_images, bare_rows
from experiments.performance.rows import LIMIT, Rows, parser
from experiments.performance.sides import Comparison, Side, differs, keep, measure
from experiments.performance.work import amount_of, computing, opening
from selectmm.features.answers import AnswerLoss
from selectmm.features.states import ImageStates
from selectmm.features.store import FeatureStore
from selectmm.flops.formulas import forward
from selectmm.methods.dataprophet import DataProphet
from selectmm.methods.el2n import El2n
from selectmm.methods.perplexity import Perplexity
from selectmm.methods.prism import Prism
from selectmm.methods.scalselect import ScalSelect
from selectmm.pool.pool import Pool

FIVE = {method.__class__.__name__: method for method in (Prism(), ScalSelect(), Perplexity(), El2n(), DataProphet())}


def ours(rows: Rows, *names: str) -> Callable[[], np.ndarray | None]:
    """The store's pass for some methods; returns answer losses, [rows], or PRISM's features, if it has them."""
    vlm, pool = rows.open_model(), rows.open_pool()
    features = [feature for name in names for feature in FIVE[name].needs().features]

    def run(pool: Pool = pool) -> np.ndarray | None:
        with tempfile.TemporaryDirectory() as folder:
            store = FeatureStore(Path(folder), vlm, rows.batch_size, shard=16 * rows.batch_size, limit=LIMIT)
            got = store.get(pool, features)
            if AnswerLoss() in got:
                return np.array(got[AnswerLoss()])
            return np.array(got[ImageStates(1)])[pool.image_of] if names == ("Prism",) and rows.repeating else None

    run(Pool(pool.table.slice(0, rows.batch_size), pool.image_root, "a first batch, for PyTorch to wake up"))
    return run


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    given = parser(__doc__.splitlines()[0], rows=480).parse_args(arguments)
    rows = Rows(given.rows, given.cache, given.batch_size, given.model, given.pool)
    five, losses = measure(ours, rows, *FIVE)
    comparisons = [
        _against_one(rows, five),
        _against_naive(rows, five, losses),
        _images_against_naive(replace(rows, repeating=True)),
        Comparison("five methods' pass", "whole model, ready tensors", five, measure(bare_rows, rows)[0], 0.8),
        _images_against_bare(rows),
    ]
    settings = {"rows": given.rows, "batch_size": given.batch_size}
    alone = [(c.what, c.ours) for c in comparisons if c.what == "PRISM's features"]
    stated = [one.record() for one in floors(rows, five, dict(alone))]
    return keep("shared_pass", settings, comparisons, given.out, floors=stated)


def floors(rows: Rows, five: Side, images: Mapping[str, Side]) -> list[Floor]:
    """FLOPs of a forward pass, each row by itself without padding, and pictures decoded.

    For all five methods the whole model runs over every row, with logits of the answer tokens alone. PRISM's features
    need the vision tower, the projector and the first decoder layer, on every image once. Formulas of FLOPs are those
    of `selectmm.flops.formulas`; the rate is that of the decoder's widest matrix product.
    """
    whole, seen = amount_of(rows), amount_of(rows, "image")
    everything = computing(whole, "forward pass of every row", forward(whole.body, whole.load))
    shallow = computing(seen, "every image as far as layer 1", forward(seen.body, seen.load, depth=1, head=False))
    return [
        Floor("five methods' pass", five.seconds, (everything, *opening(whole))),
        *(Floor(what, side.seconds, (shallow, *opening(seen))) for what, side in images.items()),
    ]


def _against_one(rows: Rows, five: Side) -> Comparison:
    alone = {name: measure(ours, rows, name)[0] for name in FIVE}
    each = ", ".join(f"{name} {side.seconds:.2f} s" for name, side in alone.items())
    dearest = max(alone, key=lambda name: alone[name].seconds)
    return Comparison(
        "five methods' pass", f"the dearest alone, {dearest} (alone: {each})", five, alone[dearest], 1.2, at_least=False
    )


def _against_naive(rows: Rows, five: Side, losses: np.ndarray) -> Comparison:
    theirs, expected = measure(all_layers, rows)
    naive = "one row at a time, all layers, eager, full logits"
    return Comparison("five methods' pass", naive, five, theirs, 5, differs=differs(losses, expected))


def _images_against_naive(rows: Rows) -> Comparison:
    prism, states = measure(ours, rows, "Prism")
    theirs, expected = measure(all_layers_for_images, rows)
    what = f"PRISM's features, {rows.count / len(rows.open_pool().images):.2f} rows per image"
    naive = "one row at a time, all layers, eager, full logits"
    return Comparison(what, naive, prism, theirs, 10, differs=differs(states, expected))


def _images_against_bare(rows: Rows) -> Comparison:
    bare = "a model of one layer, ready tensors"
    return Comparison("PRISM's features", bare, measure(ours, rows, "Prism")[0], measure(bare_images, rows)[0], 0.8)


if __name__ == "__main__":
    main(sys.argv[1:])
