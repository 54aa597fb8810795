"""A record is data: whatever it says, no code of its choice runs, and nothing is opened that the user has not seen."""

import json
import os
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from selectmm.command_line.reading import CONFIGS, ROOT, read_config
from selectmm.commands import export, inspect
from selectmm.commands._recorded import confirm, loaders, recorded
from selectmm.errors import UserError
from selectmm.records.files import load
from selectmm.records.record import RunRecord
from tests.bad_input import examples
from tests.export.recorded import pool_choices, recorded_run

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A place and the record of a run there."""
    place = tmp_path_factory.mktemp("run")
    return place, recorded_run(place, "method=length")


def changed(record: Path, to: Path, change: Change) -> Path:
    """A copy of a record with another configuration."""
    content = json.loads(record.read_text())
    change(content["config"])
    to.write_text(json.dumps(content))
    return to


def writes(target: Path) -> dict[str, object]:
    """An entry that writes a file as soon as it is instantiated."""
    return {
        "_target_": "pathlib.Path.write_text",
        "self": {"_target_": "pathlib.Path", "_args_": [str(target)]},
        "data": "x",
    }


class Mark:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def commands(record: Path, to: Path) -> list[Callable[[], None]]:
    """All commands that open what a record names."""
    named = ["--record", str(record), "--yes", "--to", str(to)]
    return [
        lambda: inspect.main(["subset", *named]),
        lambda: export.main(["subset", *named, "--format", "llava"]),
        lambda: export.main(["model", *named]),
    ]


def hostile(place: Path) -> dict[str, dict[str, object]]:
    """Entries that run code when they are instantiated; all of them leave ``place / "ran"``."""
    ran = place / "ran"
    joblib.dump(Mark(ran), place / "pickle")
    return {
        "a method of another class": writes(ran),
        "a pickle": {"_target_": "joblib.load", "filename": str(place / "pickle")},
        "a function of ours": {
            "_target_": "selectmm.cache.stage.write_atomically",
            "path": {"_target_": "pathlib.Path", "_args_": [str(ran)]},
            "content": "x",
        },
        "a partial": {"_target_": "os.mkdir", "_partial_": True, "_args_": [str(ran)]},
        "no text": {"_target_": ["os.mkdir"], "_args_": [str(ran)]},
    }


def test_no_record_runs_code(run: tuple[Path, Path], tmp_path: Path) -> None:
    for case, entry in hostile(tmp_path).items():
        both = {"pool": entry, "model": entry}
        record = changed(run[1], tmp_path / "record.json", lambda config, both=both: config.update(both))
        for command in commands(record, tmp_path / "out"):
            with pytest.raises(UserError, match=r"has the loader .* which no file of configs/(pool|model) has"):
                command()
            assert not (tmp_path / "ran").exists(), case


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("file", "nested", "has the loader 'pathlib.Path.write_text', which no file of configs/file has"),
        ("_partial_", True, "pool._partial_ is no option of"),
        ("_args_", ["x"], "pool._args_ is no option of"),
        ("_convert_", "all", "pool._convert_ is no option of"),
        ("return", "x", "pool.return is no option of"),
        ("file", 5, "pool.file is 5, which selectmm.pool.llava_json.open_llava_json does not take; give pool.file="),
        ("file", ["x"], r"pool.file is \['x'\], which"),
        ("file", "a\x1b[2Jb", r"field 'config.pool.file' holds the character '\\x1b', which is not printable text"),
        ("bad_rows", "guess", "pool.bad_rows is 'guess', which"),
    ],
)
def test_what_no_configuration_could_say_is_refused(
    key: str, value: object, said: str, run: tuple[Path, Path], tmp_path: Path
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["pool"][key] = writes(tmp_path / "ran") if value == "nested" else value

    with pytest.raises(UserError, match=said):
        recorded(load(changed(run[1], tmp_path / "record.json", change)), "pool", [], None)
    assert not (tmp_path / "ran").exists()


def test_an_interpolation_is_a_text(run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "swordfish")
    record = changed(run[1], tmp_path / "record.json", lambda config: config["pool"].update(file="${oc.env:SECRET}"))
    with pytest.raises(UserError) as caught:
        inspect.main(["subset", "--record", str(record), "--yes", "--to", str(tmp_path / "page.html")])
    assert "There is no pool file ${oc.env:SECRET}" in str(caught.value)


def test_a_loader_nested_as_ours_are_is_checked_too(run: tuple[Path, Path], tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["model"]["compute"] = writes(tmp_path / "ran")

    record = load(changed(run[1], tmp_path / "record.json", change))
    with pytest.raises(UserError, match=r"The record's model.compute has the loader 'pathlib.Path.write_text'"):
        recorded(record, "model", [], None)


def test_nothing_is_opened_that_only_the_record_names(run: tuple[Path, Path], tmp_path: Path) -> None:
    place, record = run
    away = tmp_path / "away"

    def change(config: dict[str, Any]) -> None:
        config["cache"] = config["pool"]["cache"] = str(away)

    asking = changed(record, tmp_path / "record.json", change)
    with pytest.raises(UserError) as caught:
        inspect.main(["subset", "--record", str(asking), "--to", str(tmp_path / "page.html")])
    assert str(caught.value).splitlines() == [
        "The record names the values below. Give them yourself (key=value; --cache for cache), or add --yes to open "
        "what the record names.",
        f"  pool.file = '{place / 'pool' / 'pool.json'}'",
        f"  pool.images = '{place / 'pool' / 'images'}'",
        f"  pool.cache = '{away}'",
        f"  cache = '{away}'",
    ]
    assert not away.exists()
    with pytest.raises(UserError, match=f"The record names the values below.*\n  cache = '{away}'$"):
        others = ["--cache", str(place / "cache"), "--others", str(asking)]
        mine = [word for word in pool_choices(place) if word.startswith("pool.")]
        inspect.main(["subset", "--record", str(record), *mine, "--to", str(tmp_path / "page.html"), *others[2:]])


def test_what_the_user_names_is_not_asked_about(run: tuple[Path, Path], tmp_path: Path) -> None:
    place, record = run
    mine = [*pool_choices(place)[1:], "--cache", str(place / "cache")]
    inspect.main(["subset", "--record", str(record), *mine, "--to", str(tmp_path / "page.html")])
    assert (tmp_path / "page.html").exists()


def test_a_pool_that_the_user_names_takes_the_place_of_the_records(run: tuple[Path, Path], tmp_path: Path) -> None:
    """The way to open a record whose pool has a loader of one's own."""
    place, record = run
    strange = changed(record, tmp_path / "record.json", lambda config: config["pool"].update(_target_="mine.open"))
    arguments = ["--record", str(strange), "--cache", str(place / "cache"), "--to", str(tmp_path / "page.html")]
    with pytest.raises(UserError, match="Name the pool yourself: pool=… with its values"):
        inspect.main(["subset", *arguments])
    inspect.main(["subset", *arguments, *pool_choices(place)])
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("YES ", True), ("", False), ("n", False)])
def test_a_person_is_asked(
    answer: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    if goes_on:
        confirm([("pool.file", "a.json")], yes=False)
    else:
        with pytest.raises(UserError, match="Nothing was opened"):
            confirm([("pool.file", "a.json")], yes=False)
    assert "  pool.file = 'a.json'" in capsys.readouterr().out


@pytest.mark.parametrize("group", ["pool", "model"])
def test_what_configs_say_is_read_from_a_record_without_a_question(group: str, run: tuple[Path, Path]) -> None:
    """Of every loader: its file as a run resolves it, kept in a record, and read back."""
    plain = OmegaConf.to_container(OmegaConf.load(CONFIGS / "compute" / "plain.yaml"))
    for *_, name in loaders(group).values():
        entry = OmegaConf.to_container(OmegaConf.load(CONFIGS / group / f"{name}.yaml"))
        lacking = [key for key, value in entry.items() if value == "???"]
        resolved = {"${cache}": "outputs/cache", "${compute}": plain, "???": "mine"}
        entry = {key: resolved.get(value, value) for key, value in entry.items()}
        found = recorded(replaced(load(run[1]), {group: entry, "chosen": {group: name}}), group, [], None)
        assert found.entry == entry
        assert found.named == tuple((f"{group}.{key}", "mine") for key in lacking)


@pytest.mark.parametrize("named", ["ä", "a(1)", "a=b", "it's", "a,b", "a b", "${x}", r"\${x}", "null", "1"])
@pytest.mark.parametrize("typed", [[], ["pool=llava_json", "pool.file=mine", "pool.images=mine"]])
def test_a_cache_may_have_any_name(named: str, typed: list[str], run: tuple[Path, Path]) -> None:
    found = recorded(load(run[1]), "pool", typed, Path(named))
    assert found.entry["cache"] == named and "pool.cache" not in dict(found.named)


def replaced(record: RunRecord, config: dict[str, Any]) -> RunRecord:
    """The record with another configuration."""
    return RunRecord(**{**vars(record), "config": config})


OWN = {  # what studies change in the built-in pool or model, by the beginning of their records' names
    "all_methods_half-": ("pool.rows", 2085),
    "all_methods_layers-": ("model.alignment", "outputs/eight-layers"),
}


def test_committed_records_name_nothing_of_their_own() -> None:
    files = sorted(file for file in Path("results/records").glob("*.json") if not file.name.startswith("video-"))
    for file in files[::20]:  # those of the study of clips name how many rows they take beside the clips
        own = [named for study, named in OWN.items() if file.name.startswith(study)]
        found = [*recorded(load(file), "pool", [], None).named, *recorded(load(file), "model", [], None).named]
        assert found == own, file


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=2),
    max_leaves=4,
)
places = st.sampled_from(["_target_", "path", "compute", "compute._target_", "compute.weights", "_args_", "new", ""])
targets = st.sampled_from(["os.mkdir", "pathlib.Path", "selectmm.models.compute.Compute", "selectmm.models.llava.load"])


@examples(200)
@given(at=places, value=json_values | targets | st.builds(lambda name: {"_target_": name}, targets))
def test_no_mutation_reaches_another_loader(at: str, value: object) -> None:
    """Whatever stands anywhere in an entry: one sentence, or an entry whose loaders are all of ``configs/``."""
    config, record = deepcopy(example()[0]), example()[1]
    where, node = f"model.{at}".rstrip(".").split("."), config
    for part in where[:-1]:
        node = node[part]
    node[where[-1]] = value
    try:
        entry = recorded(replaced(record, config), "model", [], None).entry
    except UserError:
        return
    compute = entry.get("compute", {})
    assert entry["_target_"] in loaders("model")
    assert isinstance(compute, dict) and compute["_target_"] in loaders("compute")
    plain = [*entry.values(), *compute.values()]
    assert all(isinstance(one, str | int | float | None) for one in plain if one is not compute)


@cache
def example() -> tuple[dict[str, Any], RunRecord]:
    """A full-scale model's configuration as a run resolves it, and any record."""
    os.environ["SELECTMM_ROOT"] = str(ROOT)
    config = OmegaConf.to_container(read_config(["model=llava15_7b"]), resolve=True)
    return config, load(min(Path("results/records").glob("*.json")))
