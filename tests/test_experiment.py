"""What a run is called in its log and its plan."""

import pytest

from selectmm.command_line.reading import ROOT, read_config
from selectmm.instantiate import build


@pytest.mark.parametrize(
    ("method", "words", "said"),
    [
        ("random", ["budget=0.15"], "run: random, budget 0.15, recipe embedded, seed 0"),
        ("random", ["budget=5000"], "run: random, budget 5,000 rows, recipe embedded, seed 0"),
        ("full", ["budget=0.15"], "run: full, budget 1, recipe embedded, seed 0"),
    ],
)
def test_a_full_run_is_announced_with_the_whole_pool_whatever_the_budget_says(
    method: str, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    config = read_config([*words, f"method={method}", "suite.tasks=null"])
    assert build(config, method).announced == said
