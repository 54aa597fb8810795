"""The page on full scale has every setting, and its hours are those of the plan."""

import re
from pathlib import Path

import pytest

from experiments.full_scale import BEGIN, END, PAGE, ROOT, row, settings


def test_what_every_setting_needs_is_there() -> None:
    needs = PAGE.read_text().split("| setting | papers |")[1].split("\n\n")[0]
    named = [name for line in needs.splitlines() for name in re.findall(r"`(\w+)`", line.strip("|").split("|")[0])]
    assert sorted(named) == settings()


def test_the_table_has_every_setting_and_a_line_of_it_is_what_the_plan_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.chdir(tmp_path)  # where no measurements of `selectmm bench` correct it
    shown = PAGE.read_text().split(BEGIN)[1].split(END)[0].splitlines()[2:]
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.strip("|").split("|")] for line in shown}
    assert list(cells) == [f"`{setting}`" for setting in settings()]
    assert row("llava15_7b_magic") == cells["`llava15_7b_magic`"]
