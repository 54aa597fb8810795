"""The bar that a terminal shows."""

import re

import pytest

from selectmm.cache.progress import progress


def test_a_bar_names_the_time_passed_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    with progress("step", 100) as show:
        show(20, "loss 1.20")
    shown = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", capsys.readouterr().out)
    assert "20/100 loss 1.20 0:00:00 elapsed, -:--:-- left" in shown
