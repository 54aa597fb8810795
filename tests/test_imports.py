"""Imports are not searched for garbage, and what they leave is not looked through again."""

import gc
from types import SimpleNamespace

import pytest

from selectmm import __main__
from selectmm.imports import uncollected


def test_nothing_is_collected_inside_and_what_is_there_then_is_left_out() -> None:
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        made = [[number] for number in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() >= before + len(made)


def test_who_collects_nothing_does_not_afterwards() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_is_imported_so_and_then_collects(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def imported(name: str) -> SimpleNamespace:
        seen.append((name, gc.isenabled()))
        return SimpleNamespace(main=lambda words: seen.append((*words, gc.isenabled())))

    monkeypatch.setattr(__main__.importlib, "import_module", imported)
    __main__._answer(["report", "a.json"])
    __main__._answer(["method=prism", "--dry-run"])
    assert seen == [
        ("selectmm.commands.report", False),
        ("a.json", True),
        ("selectmm.commands.plan", False),
        ("method=prism", True),
    ]


def test_a_run_is_checked_so_and_then_collects(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(__main__, "check", lambda _: seen.append(gc.isenabled()))
    monkeypatch.setattr(__main__, "job", lambda: seen.append(gc.isenabled()))
    __main__._answer(["method=prism"])
    assert seen == [False, True]
