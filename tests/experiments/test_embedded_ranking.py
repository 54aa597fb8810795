"""DataProphet on the embedded pool: the committed page follows from the committed runs and metric."""

from pathlib import Path

import numpy as np
import pytest

from experiments.dataprophet.embedded_ranking import NAME, ROOT, TERMS, make, product, read_measured


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
