"""The pages of help name every command and choice."""

import re

import pytest

from selectmm.__main__ import main
from selectmm.command_line.help import SHORT, command_files, help_text, short_help
from selectmm.command_line.reading import check_overrides
from selectmm.paths import ROOT


def test_help_shows_a_command_for_each_wish_and_every_choice() -> None:
    text = help_text(ROOT)
    for part in (
        "method=prism",
        "pool=llava_json",
        "-m",
        "--cfg job",
        "quickstart/ten_minutes",
        "zero3",
        "llava15_lora",
    ):
        assert part in text
    listed = re.search(r"^  method +(.*?)(?=\n  \w)", text, re.MULTILINE | re.DOTALL)[1]
    for name in re.split(r",\s+", listed):
        assert (ROOT / "configs" / "method" / f"{name}.yaml").exists()


def test_help_names_every_command_with_its_first_line() -> None:
    text = help_text(ROOT)
    for name, path in command_files().items():
        assert f"  {name} " in text
        assert path.read_text().split("\n")[0].strip('"') in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_the_help_of_run_and_sweep_is_a_screen_that_names_the_rest(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([verb, "--help"], [verb, "method=prism", "-h"]):
        monkeypatch.setattr("sys.argv", ["selectmm", *words])
        main()
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: selectmm {verb} ") and len(shown.splitlines()) <= 30
        assert "selectmm --help" in shown and "--cfg job" in shown and "selectmm plan" in shown
        assert max(map(len, shown.splitlines())) <= 120


def test_what_the_help_of_run_and_sweep_names_can_be_typed() -> None:
    pages = "\n".join(short_help(verb, ROOT) for verb in SHORT)
    words = [word for word in re.findall(r"(?:^| )([\w./]+=[\w.,/]+)", pages, re.MULTILINE) if "group" not in word]
    assert len(words) > 12
    for word in words:
        beside = ["pool=llava_json"] if word.startswith("pool.") else []
        check_overrides(ROOT / "configs", [*beside, word])
