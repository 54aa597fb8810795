"""``python -m selectmm inspect subset``."""

import errno
from pathlib import Path

import pytest

from selectmm.commands import inspect as command
from selectmm.commands.inspect import main
from selectmm.errors import UserError
from selectmm.records.cached import subset_of
from selectmm.records.files import load
from tests.export.recorded import pool_choices, recorded_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A place, and the records of two runs there."""
    place = tmp_path_factory.mktemp("run")
    return place, recorded_run(place, "method=length"), recorded_run(place, "method=random")


def test_records_and_folders_make_one_page(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    place, length, random = runs
    folder = subset_of(load(random), place / "cache")
    others = ["--others", str(random), str(folder)]
    main(
        [
            "subset",
            "--record",
            str(length),
            "--yes",
            *others,
            "--each",
            "2",
            "--to",
            str(tmp_path / "deep" / "page.html"),
        ]
    )
    text = (tmp_path / "deep" / "page.html").read_text()
    for part in ("1. length, budget 0.5, seed 0", "2. random, budget 0.5, seed 0", f"3. {folder.name}", "At the cut"):
        assert part in text
    assert text.count("<article") == 8
    assert load(length).name in text


def test_a_folder_and_a_pool_are_enough(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    place, length, _ = runs
    folder = subset_of(load(length), place / "cache")
    arguments = [*pool_choices(place), f"cache={place / 'cache'}", "--to", str(tmp_path / "page.html")]
    main(["subset", "--subset", str(folder), *arguments])
    assert f"<h1>{folder.name}</h1>" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "^Use: selectmm inspect subset --record FILE --to PAGE.html"),
        (["pool"], "'pool' cannot be inspected; use: selectmm inspect subset --record FILE --to PAGE.html"),
        (["subset", "--to", "x"], "Nothing was named: give --record FILE, or --subset FOLDER and pool="),
        (
            ["subset", "--record", "RECORD", "--to", "x", "--others", "none.json"],
            "no record to read at none.json",
        ),
        (["subset", "--record", "RECORD", "--to", "x", "--others", "."], "no subset.json in"),
        (
            ["subset", "--record", "RECORD", "--to", "x", "--cache", "none"],
            "The subset of run-length-.* --cache",
        ),
        (
            ["subset", "--record", "RECORD", "--to", "x", "pool.file=none.json"],
            "There is no pool file none.json",
        ),
    ],
)
def test_every_mistake_is_one_sentence(
    words: list[str], said: str, runs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        main([part for word in words for part in ([str(runs[1]), "--yes"] if word == "RECORD" else [word])])
    assert not (tmp_path / "x").exists()


def test_a_full_disk_is_one_sentence(
    runs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(command, "write_atomically", full)
    with pytest.raises(UserError, match=r"x\.html could not be written: No space left on device; make room"):
        main(["subset", "--record", str(runs[1]), "--yes", "--to", str(tmp_path / "x.html")])
