"""Shares, rows and hours: what a budget means and how it is recorded."""

import pytest

from selectmm.budget import Hours, hours_in, in_words, rows_for, share_of
from selectmm.command_line.reading import ROOT, read_config
from selectmm.errors import UserError
from selectmm.instantiate import build


@pytest.mark.parametrize(
    ("budget", "rows", "share", "words"),
    [(0.3, 7, 0.3, "0.3"), (1, 24, 1, "1"), (0.001, 1, 0.001, "0.001"), (6, 6, 0.25, "6 rows"), (24, 24, 1, "24 rows")],
)
def test_up_to_one_it_is_a_share_and_above_a_number_of_rows(budget: float, rows: int, share: float, words: str) -> None:
    pool = range(24)  # of a pool, only its length counts
    assert (rows_for(budget, pool), share_of(budget, pool), in_words(budget)) == (rows, share, words)


def test_hours_name_their_gpu() -> None:
    assert hours_in("8h@h100") == Hours(8.0, "h100")
    assert hours_in("1.5h@a100-80") == Hours(1.5, "a100-80")
    assert [hours_in(other) for other in (0.3, "8h", "h@h100", "8@h100")] == [None] * 4


def test_a_run_takes_no_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    with pytest.raises(UserError, match=r"^budget=8h@h100 is in hours, for 'selectmm select' alone; give a share"):
        build(read_config(["budget=8h@h100", "suite.tasks=null"]), "prism")
