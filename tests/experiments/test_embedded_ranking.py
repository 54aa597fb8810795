"""DataProphet on the embedded pool: the committed page follows from the committed runs and metric."""

from pathlib import Path

import numpy as np
import pytest

from experiments.dataprophet.embedded_ranking import (
    NAME,
    ROOT,
    TERMS,
    drawn_again,
    make,
    measured_at,
    product,
    read_measured,
)
from selectmm.errors import UserError
from selectmm.evaluation.outcome import Answer
from selectmm.statistics.tally import Tally, tally
from tests.report.runs import run_of


def test_the_committed_page_and_picture_are_made_again(tmp_path: Path) -> None:
    make(tmp_path)
    for ending in ("md", "svg"):
        made, kept = tmp_path / f"{NAME}.{ending}", ROOT / "results" / "tables" / f"{NAME}.{ending}"
        assert made.read_text() == kept.read_text()


def test_the_metric_is_the_product_of_its_terms() -> None:
    terms = {
        "sources": ["a", "b"],
        "targets": ["x"],
        "question": [[0.5], [1.0]],
        "answer": [[1.0], [0.5]],
        "image": [[1.0], [1.0]],
        "source_perplexity": [2.0, 3.0],
        "diversity": [1.0, 2.0],
        "target_perplexity": [4.0],
    }
    np.testing.assert_allclose(product(terms, TERMS), [[0.25], [0.75]])


def test_every_source_of_the_pool_was_trained_on_alone() -> None:
    measured = read_measured(["mini-POPE"])
    counts = measured.records[0].pool.per_source
    assert measured.sources == sorted(counts)
    for record in measured.records:
        assert record.subset.rows == counts[record.method.options["source"]]
    assert measured.after.shape == (len(counts), 1)
    assert measured.gains.std(0) == pytest.approx(1)


def test_a_cell_is_the_mean_over_seeds() -> None:
    runs = [run_of("one_source", {"x": value}, seed=seed) for seed, value in enumerate((40.0, 48.0))]
    assert (measured_at(runs[:1], "x"), measured_at(runs, "x")) == (40.0, 44.0)


def tally_of(points: np.ndarray) -> Tally:
    found = tally([Answer(str(item), "", "", "", float(point)) for item, point in enumerate(points)], "exact_match")
    assert found is not None
    return found


def test_all_sources_are_scored_on_the_same_drawn_items() -> None:
    """Two sources that are right on the same items but one keep their order in every draw, which their own standard
    errors would turn around in many; with one seed the spread is that of the items."""
    rng = np.random.default_rng(0)
    low = rng.integers(0, 2, 100)
    high = low.copy()
    high[np.flatnonzero(low == 0)[:1]] = 1
    runs = [[run_of("one_source", {"x": 50.0}, options={"source": name})] for name in ("low", "high")]
    tallies = {of[0].name: {"x": tally_of(points)} for of, points in zip(runs, (low, high), strict=True)}
    drawn = drawn_again(runs, tallies, ["x"], 2000, rng)[:, :, 0]
    assert (drawn[:, 0] <= drawn[:, 1]).all()
    assert drawn.std(axis=0) == pytest.approx([100 * low.std() / 10, 100 * high.std() / 10], rel=0.1)


def test_seeds_are_drawn_too_and_answers_to_other_items_are_refused() -> None:
    """Right everywhere or nowhere, by seed: of two drawn seeds the mean is 0, 50 or 100."""
    runs = [[run_of("one_source", {"x": 50.0}, seed=seed) for seed in (0, 1)]]
    tallies = {record.name: {"x": tally_of(np.full(10, seed))} for seed, record in enumerate(runs[0])}
    drawn = drawn_again(runs, tallies, ["x"], 2000, np.random.default_rng(0))
    assert [np.mean(drawn == value) for value in (0, 50, 100)] == pytest.approx([0.25, 0.5, 0.25], abs=0.04)
    tallies[runs[0][1].name] = {"x": tally_of(np.ones(9))}
    with pytest.raises(UserError, match="The runs did not all answer the same items of x; make them again"):
        drawn_again(runs, tallies, ["x"], 10, np.random.default_rng(0))
