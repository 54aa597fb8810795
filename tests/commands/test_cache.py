"""`cache ls`, `du` and `prune` from the command line."""

import json
from pathlib import Path

import pytest

from selectmm.commands.cache import main
from selectmm.errors import UserError
from selectmm.screen import output
from tests.cache.test_prune import stage, unfinished


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    stage(tmp_path, "features", 1, {"feature": "selectmm.features.states.ImageStates@0123456789abcdef"}, 3 * 2**20)
    stage(tmp_path, "adapter", 2, {"steps": 5, "strategy": {"kind": "zero2", "devices": 2}}, 2**20)
    stage(tmp_path, "adapter", 3, size=2**20)
    unfinished(tmp_path, "adapter", 9)
    (tmp_path / "adapter" / "\x1b[2Jnotes").touch()
    return tmp_path


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_ls_shows_every_stage(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ls", "--cache", str(cache)])
    text = capsys.readouterr().out
    rows = {row[1]: row for row in lines(text) if len(row) > 2}
    assert rows["0000000000000001"][2:5] == ["feature=ImageStates", "finished", "no"]
    assert rows["0000000000000001"][-3:] == ["3", "MiB", "2.0"]
    assert rows["0000000000000002"][2:5] == ["steps=5,", "strategy=zero2", "finished"]
    assert rows["0000000000000009.partial"][2:5] == ["–", "partial", "no"]
    assert "Also there, that are no stages, left alone: 1 (first: adapter/\\x1b[2Jnotes)" in text


def test_du_sums_up_by_kind(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["du", "--cache", str(cache)])
    rows = lines(capsys.readouterr().out)
    assert ["adapter", "2", "1", "0", "2", "MiB", "17.0"] in rows
    assert ["features", "1", "0", "0", "3", "MiB", "2.0"] in rows
    assert ["all", "3", "1", "0", "5", "MiB", "19.0"] in rows


def test_prune_shows_first_and_removes_when_told_to(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(cache.rglob("*"))
    asked = ["prune", "--cache", str(cache), "--stage", "adapter", "--unused-days", "30"]
    main(asked)
    assert sorted(cache.rglob("*")) == before
    expected = "2 stages, 2 MiB, which took 10.0 device-seconds."  # the third was worked at just now
    assert f"Would remove {expected} Nothing is removed yet: add --yes." in capsys.readouterr().out
    main([*asked, "--yes"])
    assert f"Removed {expected}" in capsys.readouterr().out
    left = sorted(str(path.relative_to(cache)) for path in cache.glob("*/*") if path.suffix != ".lock")
    assert left == ["adapter/\x1b[2Jnotes", "adapter/0000000000000009.partial", "features/0000000000000001"]


def test_prune_says_where_a_size_is_not_reached(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["prune", "--cache", str(cache), "--max-gib", "0.002"]
    main([*asked, "--stage", "adapter"])
    said = "3 MiB are left, more than --max-gib 0.002: no other stage fits the options that were given."
    assert said in " ".join(capsys.readouterr().out.split())
    main(asked)
    assert "are left" not in capsys.readouterr().out


def test_scripts_get_each_as_json(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def document(*words: str) -> dict[str, object]:
        with output(json=True):
            main([words[0], "--cache", str(cache), *words[1:]])
        return json.loads(capsys.readouterr().out)

    stages = {Path(each["folder"]).name: each for each in document("ls")["stages"]}
    assert stages["0000000000000002"]["identity"] == {"steps": 5, "strategy": {"kind": "zero2", "devices": 2}}
    first = stages["0000000000000001"]
    assert (first["stage"], first["state"], first["size"] // 2**20, first["device_seconds"]) == (
        "features", "finished", 3, 2.0
    )  # fmt: skip
    kinds = document("du")["kinds"]
    assert {name: (kind["finished"], kind["partial"], kind["in_use"]) for name, kind in kinds.items()} == {
        "adapter": (2, 1, 0),
        "features": (1, 0, 0),
        "all": (3, 1, 0),
    }
    pruned = document("prune", "--stage", "features", "--unused-days", "0")
    assert pruned["removed"] is False and len(pruned["stages"]) == 1
    assert document("prune", "--stage", "features", "--unused-days", "0", "--yes")["removed"] is True
    assert not list(cache.glob("features/*/stage.json"))


def test_without_a_choice_only_leftovers_go(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cache / "features" / "000000000000000a.lock").touch()
    (cache / ".removed" / "features-0000000000000001-77").mkdir(parents=True)
    main(["prune", "--cache", str(cache), "--yes"])
    assert "Removed 0 stages, 0 B, which took 0.0 device-seconds; and 2 leftovers." in capsys.readouterr().out
    assert not (cache / ".removed").exists() and not (cache / "features" / "000000000000000a.lock").exists()
    assert len(list(cache.glob("*/*/stage.json"))) == 3


@pytest.mark.parametrize("number", ["soon", "-1", "nan", "inf"])
def test_a_number_that_is_none_is_one_sentence(cache: Path, number: str) -> None:
    with pytest.raises(UserError, match=f"'{number}' is not a number of days or GiB; give one that is 0 or more"):
        main(["prune", "--cache", str(cache), f"--unused-days={number}"])
