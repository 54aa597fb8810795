"""As after the start of a command."""

import pytest

from selectmm.paths import ROOT


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
