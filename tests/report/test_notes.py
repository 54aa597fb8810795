"""What stands under a table about the pool and the suite."""

from dataclasses import replace

from selectmm.report.notes import notes
from selectmm.report.rows import compare
from tests.report.runs import run_of

FOUND = {"a": {"items": 900, "same": 1, "near": 2}, "b": {"items": 100, "same": 0, "near": 3}}
HELD = "Of the suite's 1,000 items the pool holds 1, and 5 nearly (contamination check)."
FULL, RANDOM = run_of("full", {"a": 50.0}), run_of("random", {"a": 40.0})


def test_what_the_pool_holds_of_the_suite_is_said_once() -> None:
    told = notes(compare([replace(run, contamination=FOUND) for run in (FULL, RANDOM)], {}))
    assert told.count(HELD) == 1 and not any("not checked" in note for note in told)


def test_runs_that_did_not_look_are_counted_and_records_of_before_say_nothing() -> None:
    told = notes(compare([replace(FULL, contamination=FOUND), RANDOM], {}))
    assert HELD in told and "For 1 of 2 runs this was not checked." in told
    assert not any("checked" in note or "pool holds" in note for note in notes(compare([FULL, RANDOM], {})))


def test_an_odd_manifest_is_unknown_and_no_traceback() -> None:
    odd = replace(
        run_of("full", {"a": 50.0, "b": 50.0}, evaluator={"a": {"judge": "url", "generation": 3}, "b": "text"}),
        contamination={"a": {"items": 7}},
    )
    told = notes(compare([odd], {}))
    assert "Scored by the judge model unknown: a." in told
    assert "Of the suite's 7 items the pool holds 0, and 0 nearly (contamination check)." in told
