"""A mix made by hand keeps what it is told to."""

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.by_source import BySource
from selectmm.methods.check import check_method, invented_pool


def test_without_names_it_is_a_method_like_any_other() -> None:
    check_method(BySource())


def test_named_sources_come_first_and_last() -> None:
    pool = invented_pool(60)
    method = BySource(first=("source-1",), last=("source-0",))
    for budget, sources in (
        (20, {"source-1"}),
        (40, {"source-1", "source-2"}),
        (60, {"source-0", "source-1", "source-2"}),
    ):
        subset = method.select(pool, Features({}), budget, np.random.default_rng(0))
        assert set(pool.sources[subset.rows]) == sources


def test_a_source_that_the_pool_lacks_is_named() -> None:
    with pytest.raises(UserError, match="no source 'charts'; it has: source-0, source-1, source-2"):
        BySource(first=("charts",)).select(invented_pool(9), Features({}), 3, np.random.default_rng(0))
