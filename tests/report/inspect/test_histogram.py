"""The picture shows as many rows as there are."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from selectmm.methods.order import ranked
from selectmm.pool.pool import Pool
from selectmm.report.inspect.choice import Choice
from selectmm.report.inspect.histogram import bins_of, histogram
from tests.report.inspect.material import choice_of, plain_pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return plain_pool(tmp_path_factory.mktemp("pool"), 400)


def normal(pool: Pool, keep: str = "high") -> Choice:
    scores = np.random.default_rng(0).normal(size=len(pool))
    return choice_of(pool, ranked(scores, 100, keep).tolist(), scores)


def drawn(choice: Choice) -> ElementTree.Element:
    return ElementTree.fromstring(re.search("<svg.*</svg>", histogram(choice)).group())


def bars(picture: ElementTree.Element, kind: str) -> list[tuple[float, float]]:
    """(left edge, height) of each."""
    return [(float(b.get("x")), float(b.get("height"))) for b in picture.iter("rect") if b.get("class") == kind]


def test_every_scored_row_is_in_a_bin_or_counted_outside(pool: Pool) -> None:
    bins = bins_of(normal(pool))
    assert bins.kept.sum() + bins.dropped.sum() + bins.below + bins.above == 400
    assert (bins.below, bins.above) == (2, 2)


def test_heights_are_counts_and_kept_rows_lie_right_of_the_cut(pool: Pool) -> None:
    choice = normal(pool)
    bins, picture = bins_of(choice), drawn(choice)
    unit = max(height for _, height in bars(picture, "dropped")) / bins.dropped.max()
    for kind, counts in (("kept", bins.kept), ("dropped", bins.dropped)):
        assert [height / unit for _, height in bars(picture, kind)] == pytest.approx(counts[counts > 0], abs=0.05)
    (cut,) = [float(line.get("x1")) for line in picture.iter("line") if line.get("class") == "cut"]
    width = float(next(picture.iter("rect")).get("width"))
    assert all(left >= cut - width - 1.2 for left, _ in bars(picture, "kept"))
    assert any("cut 0." in (text.text or "") for text in picture.iter("text"))


def test_the_middle_has_two_cuts_and_one_label(pool: Pool) -> None:
    picture = drawn(normal(pool, "medium"))
    assert sum(line.get("class") == "cut" for line in picture.iter("line")) == 2
    (label,) = [text.text for text in picture.iter("text") if text.get("class") == "cut"]
    assert re.fullmatch(r"cuts -0\.\d+ and 0\.\d+", label)


def test_a_cut_beyond_the_tails_is_still_in_the_picture(pool: Pool) -> None:
    scores = np.arange(400.0)
    scores[-1] = 10_000
    bins = bins_of(choice_of(pool, [399], scores))
    assert bins.edges[-1] == 10_000
    assert (bins.kept.sum(), bins.above) == (1, 0)


def test_a_long_tail_is_drawn_to_a_logarithmic_scale_and_said_so(pool: Pool) -> None:
    scores = np.geomspace(1, 1e7, 400)
    choice = choice_of(pool, ranked(scores, 100, "low").tolist(), scores)
    assert bins_of(choice).log
    assert "logarithmic scale" in histogram(choice)
    ticks = [text.text for text in drawn(choice).iter("text")]
    assert {"100", "1e+04", "1e+06"} <= set(ticks)
    assert f"cut {10 ** (7 * 99 / 399):.4g}" in ticks
    assert not bins_of(choice_of(pool, [0], scores - 2)).log, "no logarithm of what is not positive"


def test_equal_scores_and_no_scores_are_no_trouble(pool: Pool) -> None:
    assert bins_of(choice_of(pool, [0], np.full(400, 3.0))).kept.sum() == 1
    assert "gives rows no score" in histogram(choice_of(pool, [0]))


def test_the_caption_counts_rows_without_a_score_and_admits_where_there_is_no_cut(pool: Pool) -> None:
    scores = np.arange(400.0)
    scores[:10] = np.nan
    found = histogram(choice_of(pool, [0, 1, 50, 200, 300], scores))
    assert "390 of 400 rows have a score. Of the 10 without, 2 were kept. No single score separates" in found
