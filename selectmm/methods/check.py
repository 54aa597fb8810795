"""The contract of a method, as a test that a stranger can run on theirs."""

from dataclasses import replace
from functools import lru_cache
from string import ascii_lowercase

import numpy as np
import pyarrow as pa

from selectmm.features.feature import Feature, Features, Reference, Targets
from selectmm.methods.method import Method, Needs
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Shown, Turn, digest_of
from selectmm.pool.table import SCHEMA

WIDTH = 16  # channels of the invented features


def check_method(method: Method, *, repeats: bool = False) -> None:
    """Hold a method against what every method promises; needs no model, no images and no network.

    The pools are invented (several sources, text-only rows, rows that share an image, identical rows, one row) and so
    are the feature values: they depend on a row's content only, as real ones do. Checked: the size for any budget from
    one row to all; rows of the pool, none twice; same seed same subset; the same rows whatever the pool's order, up to
    ties in score, and however its sources are called, as long as their names sort alike. (What a feature's values are
    must not depend on shards, batches and workers either; the store sees to that, and `tests/features` tests it.)

    Args:
        repeats: the method may keep a row more than once, on purpose.

    Raises:
        AssertionError: a promise is broken; the sentence says which.
        UserError: rows are no positions.
    """
    mixed = invented_pool(60)
    for budget in (1, 2, 20, 59, 60):
        _check_size(method, mixed, budget, repeats)
    for special in (invented_pool(1), _twins(12), _one_image(12), _text_only(12)):
        for budget in (1, max(1, len(special) // 2), len(special)):
            _check_size(method, special, budget, repeats)
    again = [_select(method, mixed, 20, seed=3).rows for _ in range(2)]
    assert np.array_equal(*again), (
        f"{method} gave two subsets for one seed; usually it draws from np.random or random, or goes through a set: "
        f"use only the rng that it is handed, and sort before you draw"
    )
    _check_names(method, mixed)  # first: what goes through a set of names may follow the pool's order too
    _check_order(method, mixed)


def _check_size(method: Method, pool: Pool, budget: int, repeats: bool) -> None:
    if method.needs().images and len(pool.images) == 0:  # such a pool is refused before the method sees it
        return
    rows = _select(method, pool, budget, seed=0).rows
    assert len(rows) == budget, (
        f"{method} kept {len(rows)} of {len(pool)} rows for a budget of {budget}; usually a filter or a rounded share "
        f"per group leaves too few or too many: fill up from the rest of the ranking, share out with order.shares"
    )
    assert repeats or len(np.unique(rows)) == len(rows), (
        f"{method} kept a row twice for a budget of {budget}; usually groups overlap, or rows that share an image are "
        f"counted as that image: positions are of rows, pool.image_of leads from rows to images"
    )
    assert rows.min() >= 0 and rows.max() < len(pool), (
        f"{method} kept a row that the pool does not have; usually positions among some of the rows, or images, are "
        f"given for positions in the pool"
    )


def _check_order(method: Method, pool: Pool) -> None:
    order = np.random.default_rng(1).permutation(len(pool))
    moved = Pool(pool.table.take(pa.array(order)), pool.image_root, pool.fingerprint)
    before, after = _select(method, pool, 20, seed=0), _select(method, moved, 20, seed=0)
    assert _kept(before, pool) == _kept(after, moved), (
        f"{method} keeps other rows when the pool is stored in another order; usually it draws, or breaks ties, by "
        f"position: draw by digest (order.random_keys, order.weighted_keys), rank with order.ranked_rows, start by "
        f"content (content.py), and go through sources by name"
    )


def _check_names(method: Method, pool: Pool) -> None:
    """Python gives a set of texts another order in every process; here, other names stand for other processes."""
    if any(name in repr(method) for name in pool.counts()):  # an option names a source, which there would not be
        return
    kept = _select(method, pool, 20, seed=0).rows
    place = pool.table.schema.get_field_index("source")
    for prefix in ascii_lowercase[:16]:
        names = pa.array([f"{prefix}-{name}" for name in pool.sources.tolist()], SCHEMA.field("source").type)
        renamed = Pool(pool.table.set_column(place, SCHEMA.field("source"), names), pool.image_root, pool.fingerprint)
        assert np.array_equal(kept, _select(method, renamed, 20, seed=0).rows), (
            f"{method} keeps other rows when the sources have other names that sort alike; usually it goes through a "
            f"set of names, whose order differs from one process to the next: go through sorted names"
        )


def _kept(subset: Subset, pool: Pool) -> list[str]:
    """What the chosen rows say."""
    return sorted(pool[row].digest for row in subset.rows.tolist())


def _select(method: Method, pool: Pool, budget: int, seed: int) -> Subset:
    subset = method.select(pool, _features(method.needs(), pool), budget, np.random.default_rng(seed))
    assert isinstance(subset, Subset), f"{method} gave a {type(subset).__name__}, not a Subset"
    shape = None if subset.scores is None else np.shape(subset.scores)
    assert shape in (None, (len(pool),)), f"{method} gave scores of shape {shape} for {len(pool)} rows"
    return subset


def _features(needs: Needs, pool: Pool) -> Features:
    """Everything that a method asks for; of snapshots, as many as it asks for."""
    points = [_at(needs, pool, point) for point in range(max(1, needs.snapshots))]
    reference = None
    if needs.reference:
        rows = needs.warmup.rows(pool, np.random.default_rng(1))
        made = {feature: invented_values(pool, feature)[rows] for feature in needs.reference}
        reference = Reference(rows, made)
    return replace(points[-1], reference=reference, snapshots=tuple(points) if needs.snapshots else ())


def _at(needs: Needs, pool: Pool, point: int) -> Features:
    """At one point of the warm-up, of which the learning rate falls."""
    targets = None
    if needs.targets:
        examples = invented_examples()
        targets = Targets(
            examples, {feature: invented_values(examples, feature, point) for feature in needs.of_targets}
        )
    return Features(
        {feature: invented_values(pool, feature, point) for feature in needs.features}, targets, rate=1 / (1 + point)
    )


def invented_values(pool: Pool, feature: Feature, point: int = 0) -> np.ndarray:
    """Positive feature values that follow from each unit's content (and the point of the warm-up)."""
    units = pool.images if feature.view == "image" else pool.table["digest"].to_pylist()
    shape = (WIDTH,) if feature.vector else ()
    values = [_invented(unit, point, shape) for unit in units]
    return np.array(values).reshape(len(units), *shape)


@lru_cache(4096)  # a method is asked some twenty times about the same rows, and a generator is slow to seed
def _invented(unit: str, point: int, shape: tuple[int, ...]) -> np.ndarray:
    salt = [point] if point else []
    return np.asarray(np.random.default_rng([*unit.encode(), *salt]).gamma(2.0, size=shape))


def invented_examples() -> Pool:
    """Examples of two benchmarks, one of them without images."""
    return pool_of([(f"target-{i % 2}", f"asked {i}", f"t{i}.png" if i % 2 else None) for i in range(8)])


def _text_only(rows: int) -> Pool:
    return pool_of([(f"source-{i % 2}", f"question {i}", None) for i in range(rows)])


def invented_pool(rows: int) -> Pool:
    """Three sources; every fifth row is text-only, and three neighbours share an image."""
    return pool_of([(f"source-{i % 3}", f"question {i}", None if i % 5 == 4 else f"{i // 3}.png") for i in range(rows)])


def _twins(rows: int) -> Pool:
    return pool_of([("source", "the same question", "same.png")] * rows)


def _one_image(rows: int) -> Pool:
    return pool_of([("source", f"question {i}", "same.png") for i in range(rows)])


def pool_of(rows: list[tuple[str, str, str | None]]) -> Pool:
    """A pool of (source, question, image or None) rows, in memory; its images do not exist."""
    entries = []
    for source, question, image in rows:
        turns = (Turn("user", question), Turn("assistant", "answer"))
        shown = [] if image is None else [Shown(image)]
        content = [{"role": turn.role, "text": turn.text} for turn in turns]
        entries.append({"digest": digest_of(source, turns, shown), "source": source, "image": image, "turns": content})
    return Pool(pa.Table.from_pylist(entries, SCHEMA), image_root=None, fingerprint="invented")
