"""Records: what is saved is what is loaded, and what does not fit is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectmm.cache.cost import Cost
from selectmm.cache.stage import Stage
from selectmm.errors import UserError
from selectmm.evaluation.suite import Score
from selectmm.records.files import load, save
from selectmm.records.record import SCHEMA, MethodEntry, StageCost
from tests.report.runs import run_of

RECORD = run_of("prism", {"POPE": 80.0, "MMMU": 26.5}, seconds=(2.0, 0.5, 30.0), options={"layer": 1})


def nested(depth: int) -> list[object]:
    return [nested(depth - 1)] if depth else []


def counts(pool: int, kept: int) -> dict[str, int]:
    return {"pool": pool, "scored": 0, "without_image": 0, "kept": kept}


def _stage(seconds: float, cached: bool) -> Stage:
    return Stage("features", Path("x"), "0", Cost(seconds, 2 * seconds, seconds), cached, {})


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    path = save(RECORD, tmp_path / "records")
    assert load(path) == RECORD
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_name_says_what_it_is() -> None:
    assert RECORD.name.startswith("toy-prism-0.3-toy_epochs-s0-")
    assert replace(RECORD, experiment="../a b/c").name.startswith(".._a_b_c-")


def test_the_same_run_replaces_itself(tmp_path: Path) -> None:
    save(RECORD, tmp_path)
    later = replace(RECORD, finished="2027-01-01T00:00:00Z", scores=())
    assert load(save(later, tmp_path)).scores == ()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(RECORD, seed=1),
        replace(RECORD, budget=0.301),
        replace(RECORD, model="another"),
        replace(RECORD, method=MethodEntry("prism", {"layer": 2})),
        replace(RECORD, recipe=replace(RECORD.recipe, options={"lr": 1.0})),
        replace(RECORD, suite=replace(RECORD.suite, evaluator={})),
        replace(RECORD, targets="examples0"),
        replace(RECORD, evaluations=3),
    ],
)
def test_another_run_never_does(other: object) -> None:
    assert other.name != RECORD.name


def test_what_was_not_kept_before_changes_no_name(tmp_path: Path) -> None:
    assert replace(RECORD, evaluations=1).name == RECORD.name
    path = save(RECORD, tmp_path)
    content = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("targets", "evaluations", "code")}
    path.write_text(json.dumps({**content, "schema": 5}))
    assert load(path) == RECORD and load(path).name == path.stem
    assert replace(RECORD, code="0123456789abcdef").name == RECORD.name, "the same run, made again with mended code"
    path.write_text(
        json.dumps(
            {k: v for k, v in {**json.loads(save(RECORD, tmp_path).read_text()), "schema": 6}.items() if k != "code"}
        )
    )
    assert load(path) == RECORD


def test_a_list_may_name_rows_several_times_and_rows_that_are_not_there(tmp_path: Path) -> None:
    """`from_indices` trains on 150 rows of a pool of 100 then, and left 400 lines out."""
    path = save(RECORD, tmp_path)
    content = json.loads(path.read_text())
    content.update(budget=1.5)
    content["subset"].update(rows=150)
    content["subset"]["coverage"].update(
        kept=150, excluded={"in the list, not in the pool": 400}, per_source={"coco": counts(100, 150)}
    )
    path.write_text(json.dumps(content))
    assert load(path).budget == 1.5 and load(path).subset.coverage.kept == 150


def test_a_score_next_to_nothing_is_a_score(tmp_path: Path) -> None:
    tiny = replace(RECORD.scores[0], value=1e-12)
    assert load(save(replace(RECORD, scores=(tiny,)), tmp_path)).scores[0].value == 1e-12


def test_a_number_that_is_none_is_not_recorded(tmp_path: Path) -> None:
    nan = Score("POPE", float("nan"), None, 10, None, "a")
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(replace(RECORD, scores=(nan,)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: r.pop("seed"), "field 'seed' is missing; records are never edited"),
        (lambda r: r.update(mood="good"), "field 'mood' is unknown"),
        (lambda r: r.update(seed="0"), "field 'seed' is '0', not a whole number"),
        (lambda r: r.update(seed=True), "field 'seed' is True, not a whole number"),
        (lambda r: r.update(model=3), "field 'model' is 3, not a text"),
        (lambda r: r["costs"]["select"].pop("seconds"), "field 'costs.select.seconds' is missing"),
        (lambda r: r["scores"][1].update(value="good"), r"field 'scores\[1\].value' is 'good', not a number"),
        (lambda r: r["scores"][0].update(stderr=[1]), r"field 'scores\[0\].stderr' is \[1\], not a number"),
        (lambda r: r.update(scores={}), "field 'scores' is {}, not a list"),
        (lambda r: r.update(pool=None), "field 'pool' is None, not an object"),
        (lambda r: r["pool"]["per_source"].update(coco=1.5), "field 'pool.per_source.coco' is 1.5, not a whole number"),
        (
            lambda r: r["scores"][0].update(value=float("nan")),
            r"field 'scores\[0\].value' is nan, which no measurement can give",
        ),
        (lambda r: r["config"].update(lr=float("-inf")), "field 'config.lr' is -inf, which no measurement can give"),
        (lambda r: r["scores"][0].update(value=10**400), r"field 'scores\[0\].value' is a number of 401 digits"),
        (lambda r: r["scores"][0].update(value=-1e300), "benchmark 'POPE' has a value of -1e\\+300"),
        (lambda r: r["scores"][0].update(stderr=-1), "benchmark 'POPE' has a standard error of -1"),
        (lambda r: r["scores"][0].update(items=0), "benchmark 'POPE' has 0 items"),
        (lambda r: r["scores"].append(r["scores"][0]), "benchmark 'POPE' has two scores"),
        (lambda r: r["costs"]["finetune"].update(device_seconds=-3), "field 'costs.finetune' holds -3"),
        (lambda r: r.update(budget=0), "field 'budget' is 0, not a share above 0"),
        (lambda r: r["subset"].update(rows=0), "field 'subset.rows' is 0, of a pool of 100 rows"),
        (lambda r: r["subset"]["coverage"].update(kept=31), "field 'subset.coverage.kept' is 31, of 30 rows"),
        (lambda r: r["recipe"].update(steps=0), "field 'recipe.steps' is 0, so nothing was trained"),
        (lambda r: r.update(seed=-1), "field 'seed' is -1, below zero"),
        (lambda r: r["suite"]["evaluator"].pop("POPE"), "benchmark 'POPE' has a score, but suite.evaluator does not"),
        (lambda r: r["subset"]["coverage"].pop("kept_distinct"), "field 'subset.coverage.kept_distinct' is missing"),
        (
            lambda r: r["subset"]["coverage"]["per_source"].update(coco={"pool": 60, "scored": 0, "without": 0}),
            "field 'subset.coverage.per_source.coco.without_image' is missing",
        ),
        (
            lambda r: r["subset"]["coverage"].update(per_source={"coco": counts(60, 30)}),
            "per_source' has 60 rows in 'pool' of all sources, but 'pool.rows' is 100",
        ),
        (
            lambda r: r["subset"]["coverage"].update(per_source={"coco": counts(60, 30), "text": counts(40, 1)}),
            "per_source' has 31 rows in 'kept' of all sources, but 'subset.rows' is 30",
        ),
        (
            lambda r: r.update(contamination={"x": {"items": 7, "same": 900}}),
            "field 'contamination.x.same' is 900, of 7 items",
        ),
        (
            lambda r: r.update(contamination={"x": {"items": 7, "near": -1}}),
            "field 'contamination.x.near' is -1, of 7 items",
        ),
        (lambda r: r.update(contamination={"x": {"items": -7}}), "field 'contamination.x.items' is -7"),
        (lambda r: r["pool"]["per_source"].update(coco=101), "field 'pool.per_source.coco' is 101, of a pool of 100"),
        (lambda r: r.update(answers={"file": "../a.jsonl.gz", "sha256": "0"}), "field 'answers.file' is ../a.jsonl.gz"),
        (lambda r: r["config"].update(x=2**70), "field 'config.x' is a number of 22 digits, too many for a count"),
        (lambda r: r["config"].update(x="a" * 100_001), "field 'config.x' is a text of 100,001 characters; at most"),
        (lambda r: r["config"].update({"a\ud800": 1}), r"field 'config.a\\ud800' holds the character '\\ud800'"),
        (lambda r: r["config"].update(x=nested(40)), r"field 'config.x\[0\].* is nested more than 32 levels deep"),
        (lambda r: r.update(schema=True), "has schema True"),
        (lambda r: r.update(schema=99), f"has schema 99, this version reads {SCHEMA}"),
        (lambda r: r.pop("schema"), "is not a run record; runs write theirs to outputs/records/."),
    ],
)
def test_a_record_that_does_not_fit_is_refused_in_one_sentence(tmp_path: Path, change: object, sentence: str) -> None:
    path = save(RECORD, tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=sentence) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a run record; runs write theirs to outputs/records/."),
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        load(path)


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no record to read at .*gone\.json"):
        load(tmp_path / "gone.json")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"could not be written: .*set 'records' to another folder"):
        save(RECORD, tmp_path / "file" / "records")


def test_stage_costs_are_summed_and_cached_only_if_nothing_ran() -> None:
    assert StageCost.of() == StageCost(0.0, 0.0, 0.0, False, 0.0, 0.0)
    assert StageCost.of(_stage(1.0, True), _stage(2.0, True)) == StageCost(3.0, 6.0, 2.0, True, 0.0, 0.0)
    assert not StageCost.of(_stage(1.0, True), _stage(2.0, False)).cached


def test_selection_is_features_and_select() -> None:
    assert (RECORD.costs.selection, RECORD.costs.tuning) == (2.5, 30.0)


TEXT = st.text(st.characters(exclude_categories=("C", "Zl", "Zp"))) | st.just("\n\t")


@settings(max_examples=40)
@given(
    TEXT,
    st.floats(1e-9, 1e15) | st.floats(-1e15, -1e-9) | st.just(0.0),
    st.none() | st.floats(0.0, 1e15),
    st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT),
)
def test_any_text_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, text: str, value: float, stderr: float | None, config: dict[str, object]
) -> None:
    score = Score("POPE", value, stderr, 1, None, "a")
    record = replace(RECORD, model=text, scores=(score,), config=config, deviations=(text,))
    assert load(save(record, tmp_path_factory.mktemp("record"))) == record


def test_what_cannot_be_shown_is_written_as_escapes_and_never_read_raw(tmp_path: Path) -> None:
    """A file's name may hold any byte: a run must not fail at its end, and nobody's terminal obeys it."""
    path = save(replace(RECORD, model="a\x1b[31mb\udcff\u202ec", deviations=("1\n2\t3", "x" * 100_001)), tmp_path)
    record = load(path)
    assert record.model == "a\\x1b[31mb\\udcff\\u202ec"
    assert record.deviations[0] == "1\n2\t3" and record.deviations[1] == "x" * 49_999 + "…" + "x" * 50_000
    for strange in ("\x1b", "\u202e", "\ud800", "\x7f", "\x00", "\u2028"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "model": f"a{strange}"}))
        with pytest.raises(
            UserError, match=r"field 'model' holds the character '\\[ux]\w+', which is not printable text"
        ):
            load(path)
