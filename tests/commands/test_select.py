"""``selectmm select``: rows in, rows out, by one method or several, without training or evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest

from selectmm.commands import select as command
from selectmm.commands.select import main
from selectmm.errors import UserError
from selectmm.features.store import FeatureStore
from selectmm.planning.corrections import file_of, keep
from selectmm.screen import output
from tests.export.recorded import model_choices, pool_choices
from tests.tiny import tiny_llava, write_pool


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("select")
    tiny_llava(folder / "base")
    write_pool(folder / "pool", rows=24)
    return folder


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    from selectmm.command_line.reading import ROOT

    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))


def choices(place: Path, *more: str) -> list[str]:
    return [*model_choices(place), *pool_choices(place), f"cache={place / 'cache'}", "recipe.max_length=1024", *more]


def rows_of(place: Path) -> list[dict[str, object]]:
    return json.loads((place / "pool" / "pool.json").read_text())


def test_the_longest_rows_are_written_as_they_stand_in_the_pools_file(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two-turn rows are every fourth: the six longest; in the file's order, with the file's own texts."""
    main([*choices(place, "method=length", "budget=6"), "--to", str(tmp_path / "kept.json")])
    text = (tmp_path / "kept.json").read_text()
    assert json.loads(text) == [row for number, row in enumerate(rows_of(place)) if number % 4 == 2]
    whole = (place / "pool" / "pool.json").read_text()
    assert all(line.rstrip(",") in whole for line in text.splitlines()[1:-1])
    listed = capsys.readouterr().out
    assert "Pool    24 rows of 3 sources" in listed
    assert "length  6 of 24 rows" in listed
    assert f"Rows    {tmp_path / 'kept.json'}" in listed
    assert not {path.name for path in (place / "cache").iterdir()} & {"adapter", "evaluation"}


def test_a_pool_that_changes_meanwhile_gives_no_rows(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are found by their places, where other rows may stand then."""
    file, whole = place / "pool" / "pool.json", command._selected
    before = file.read_bytes()

    def changed(*given: object) -> object:
        file.write_bytes(before + b"\n")
        return whole(*given)

    monkeypatch.setattr(command, "_selected", changed)
    with pytest.raises(UserError, match=r"pool\.json changed after the pool was read, so no rows were written; select"):
        main([*choices(place, "method=length", "budget=6"), "--to", str(tmp_path / "kept.json")])
    file.write_bytes(before)
    assert not list(tmp_path.iterdir())


def test_several_methods_share_one_pass_and_their_overlap_is_counted(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    whole = FeatureStore._pass

    def counted(store: FeatureStore, pool: object, partials: dict) -> None:
        made.append(sorted(type(feature).__name__ for feature in partials))
        whole(store, pool, partials)

    monkeypatch.setattr(FeatureStore, "_pass", counted)
    cache = f"cache={tmp_path / 'cache'}"
    with output(json=True):
        main([*choices(place, "method=length,el2n,prism", "budget=0.5", cache), "--to", str(tmp_path / "kept")])
    document = json.loads(capsys.readouterr().out)
    assert (document["to"], document["pool_rows"], document["left_out"]) == (str(tmp_path / "kept"), 24, {})
    assert {name: method["rows"] for name, method in document["methods"].items()} == dict(length=12, el2n=12, prism=12)
    assert len([names for names in made if names]) == 1, "one pass for all"
    kept = {name: json.loads((tmp_path / "kept" / f"{name}.json").read_text()) for name in ("length", "el2n", "prism")}
    ids = {name: {row["id"] for row in rows} for name, rows in kept.items()}
    assert {len(each) for each in ids.values()} == {12}
    table = (tmp_path / "kept" / "overlap.md").read_text()
    both = 100 * len(ids["length"] & ids["prism"]) / 12
    assert f"| length | 12 | – | {100 * len(ids['length'] & ids['el2n']) / 12:.0f} (50) | {both:.0f} (50) |" in table


def test_all_are_the_methods_but_the_references() -> None:
    names = command._names([], every=True)
    assert {"random", "prism", "scalselect", "icons", "from_scores"} <= set(names)
    assert not set(names) & {"full", "oracle", "by_source", "one_source"}


def test_all_takes_what_can_choose_here_and_says_of_the_others_why(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ["dataprophet", "datatailor", "from_indices", "grand", "length", "prism", "random", "rds_plus", "vds3"]
    monkeypatch.setattr(command, "_names", lambda choices, every: some)  # all take twenty seconds
    main([*choices(place, "budget=8", "~targets"), "--all", "--format", "indices", "--to", str(tmp_path / "kept")])
    text = capsys.readouterr().out
    names = {path.stem for path in (tmp_path / "kept").glob("*.json")}
    assert names == {"datatailor", "length", "prism", "random"}, "states of the last layer, and of the first"
    kept = [line for line in text.splitlines() if "8 of 24 rows" in line]
    assert {line.index("8 of 24 rows") for line in kept} == {len("datatailor ") + 1}, "one column"
    left_out = [line.split()[2] for line in text.splitlines() if line.startswith("left out: ")]
    assert left_out == ["dataprophet.", "from_indices.", "grand.", "rds_plus.", "vds3."], (
        "in order, whatever the reason"
    )
    assert "left out: vds3. It compares the frames of clips, and no row of the pool has a clip; name it to" in text
    assert "left out: grand. It trains the model first" in text
    assert "left out: from_indices. Not set: method.file" in text
    assert "left out: rds_plus. method=rds_plus needs examples of the target benchmarks" in text
    entries = json.loads((tmp_path / "kept" / "length.json").read_text())
    assert len(entries) == 8
    assert set(entries[0]) == {"row", "id"}


def test_hours_are_as_many_rows_as_the_plan_says_can_be_tuned_on(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice the time, twice the rows, up to the rounding to whole steps."""
    kept = {}
    for name, hours in (("one", "0.000000002"), ("two", "0.000000004")):
        options = choices(place, "method=random", f"budget={hours}h@h100", "recipe.batch_size=1", "recipe.epochs=1")
        main([*options, "--format", "indices", "--to", str(tmp_path / f"{name}.json")])
        kept[name] = len(json.loads((tmp_path / f"{name}.json").read_text()))
        shown = capsys.readouterr().out
        assert "seconds of one h100 at 40 % of its peak" in shown and "rows scored" not in shown
    assert 0 < kept["one"] < kept["two"] < 24
    assert abs(kept["two"] - 2 * kept["one"]) <= 1


def test_hours_that_are_enough_for_the_whole_pool_select_nothing(place: Path, tmp_path: Path) -> None:
    expected = (
        r"^budget=8h@h100 is enough for the whole pool \(tuning on it takes an estimated [\d.e-]+ seconds of one h100 "
        r"at 40 % of its peak\), so all 24 rows would be kept and methods would not differ; give fewer hours, or a "
        r"share or number of rows\.$"
    )
    with pytest.raises(UserError, match=expected):
        main([*choices(place, "method=random,length", "budget=8h@h100"), "--to", str(tmp_path / "kept")])
    assert list(tmp_path.iterdir()) == []


def test_hours_are_corrected_by_what_bench_measured(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tuning was half as fast as it is estimated: half as many rows as in the same hours without."""
    from selectmm.command_line.reading import read_config
    from selectmm.instantiate import build

    options = choices(place, "method=random", "budget=0.000000004h@h100", "recipe.batch_size=1", "recipe.epochs=1")
    options = [*options, f"cache={tmp_path / 'cache'}", "--format", "indices", "--to", str(tmp_path / "rows.json")]
    main(options)
    estimated = len(json.loads((tmp_path / "rows.json").read_text()))
    experiment = build(read_config([option for option in options[:-4] if "budget" not in option]), "random")
    keep(
        file_of(experiment.cache, experiment.config, experiment.recipe, experiment.open_shapes("cpu"), "h100"),
        {"date": "2026-11-29", "device": "an H100", "factors": {"tuning": 2.0}},
    )
    (tmp_path / "rows.json").unlink()
    capsys.readouterr()
    main(options)
    assert "seconds of one h100 corrected by `selectmm bench`" in capsys.readouterr().out
    assert 0 < estimated - 2 * len(json.loads((tmp_path / "rows.json").read_text())) + 1 <= 2


def test_the_subset_is_that_of_a_run_whose_budget_is_a_share(place: Path, tmp_path: Path) -> None:
    from selectmm.command_line.reading import read_config
    from selectmm.instantiate import build
    from selectmm.stages.select import select

    main([*choices(place, "method=el2n", "budget=6"), "--format", "indices", "--to", str(tmp_path / "kept.json")])
    experiment = build(read_config(choices(place, "method=el2n", "budget=0.25", "suite.tasks=null")), "el2n")
    chosen = select(experiment, experiment.open_pool(), experiment.open_model())
    assert chosen.chosen.cached, "the command left it in the cache"
    listed = [entry["row"] for entry in json.loads((tmp_path / "kept.json").read_text())]
    assert listed == np.sort(chosen.subset.rows).tolist()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["budget=1.5"], "budget=1.5 is not a share of the pool; .* or a whole number of rows, such as 5000"),
        (["budget=25", "method=random"], "budget=25 asks for more rows than the pool has, 24"),
        (["budget=0h@h100"], "budget=0h@h100 allows no row"),
        (
            ["budget=8h"],
            r"budget=8h is not a number; give a share, such as 0.2 for 20 %, .* hours of a GPU, such as 8h@h100",
        ),
        (["budget=8h@h900"], "There is no GPU h900 in the table"),
        (["budget=0.1,0.2"], "'budget=0.1,0.2' is a sweep, but only the method can have several values here"),
        (["method=prsm"], "There is no 'method=prsm': did you mean 'method=prism'"),
        (["method=length,prsm"], "There is no 'method=prsm': did you mean 'method=prism'"),
        (["method=length", "--all"], "--all takes every method with the values of its file; leave method=length out"),
        (["method=length,", "random"], r"^Cannot read 'method=length,' \(.*\); there are no spaces around '=' and ','"),
        (["budget=[0.3"], r"^Cannot read 'budget=\[0\.3'"),
        (["method=length,random"], "Several methods are written to a folder, not to a file; give --to .*kept"),
        (["method=length", "--utilisation", "40"], "--utilisation 40 is not a share"),
        (["method=length", "nodes=2"], r"^nodes=2, but select runs on one machine; leave nodes out\.$"),
    ],
)
def test_every_mistake_is_one_sentence_and_leaves_nothing(
    words: list[str], said: str, place: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        main([*choices(place), *words, "--to", str(tmp_path / "kept.json")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("kept.jsonl", [], r"written as the pool has them; give --to .*kept\.json\."),
        ("kept.txt", ["--format", "indices"], r"Places are written as JSON; give --to .*kept\.json\."),
        ("there.json", [], r"there\.json is there already; give --to a new file"),
    ],
)
def test_the_name_of_the_file_has_to_fit(name: str, more: list[str], said: str, place: Path, tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text("mine")
    with pytest.raises(UserError, match=said):
        main([*choices(place, "method=random", "budget=3"), *more, "--to", str(tmp_path / name)])
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]
    assert (tmp_path / "there.json").read_text() == "mine"


def test_a_schedule_has_no_rows_before_training(place: Path, tmp_path: Path) -> None:
    expected = "schedule=rho_loss chooses rows while a model trains, so there are none to write before; leave it out"
    with pytest.raises(UserError, match=expected):
        main([*choices(place, "method=length", "schedule=rho_loss"), "--to", str(tmp_path / "kept.json")])
