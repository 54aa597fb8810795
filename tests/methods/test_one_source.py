"""One source keeps its rows and no other."""

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.check import invented_pool
from selectmm.methods.one_source import OneSource


def test_all_rows_of_the_source_and_no_other() -> None:
    pool = invented_pool(20)
    for budget in (1, 20):
        rows = OneSource("source-1").select(pool, Features({}), budget, np.random.default_rng(0)).rows
        assert rows.tolist() == np.flatnonzero(pool.sources == "source-1").tolist()


def test_a_source_that_the_pool_lacks_is_named() -> None:
    with pytest.raises(UserError, match="no source 'charts'; it has: source-0, source-1, source-2"):
        OneSource("charts").select(invented_pool(9), Features({}), 3, np.random.default_rng(0))
