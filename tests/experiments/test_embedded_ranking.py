"""DataProphet on the embedded pool: the committed page follows from the committed runs and metric."""

from pathlib import Path

import numpy as np
import pytest

from experiments.dataprophet.embedded_ranking import NAME, ROOT, TERMS, make, measured_at, product, read_measured
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


def test_a_cell_is_the_mean_over_seeds_and_its_error_holds_items_and_seeds() -> None:
    runs = [run_of("one_source", {"x": value}, seed=seed, stderr=3.0) for seed, value in enumerate((40.0, 48.0))]
    assert measured_at(runs[:1], "x") == (40.0, 3.0)
    assert measured_at(runs, "x") == (44.0, pytest.approx(5.0)), "√(3² + 4²): sd 8/√2 over √2 seeds is 4"
