"""What stands under a table about the pool and the suite."""

from dataclasses import replace

from selectmm.records.record import BatchingEntry, RunRecord
from selectmm.report.notes import notes
from selectmm.report.references import Reference
from selectmm.report.rows import compare
from tests.report.runs import run_of

FOUND = {"a": {"items": 900, "same": 1, "near": 2}, "b": {"items": 100, "same": 0, "near": 3}}
HELD = "Contamination check: of the suite's 1,000 items, 1 are in the pool, and 5 have a near-duplicate there."
FULL, RANDOM = run_of("full", {"a": 50.0}), run_of("random", {"a": 40.0})


def test_what_the_pool_holds_of_the_suite_is_said_once() -> None:
    found = notes(compare([replace(run, contamination=FOUND) for run in (FULL, RANDOM)], {}))
    assert found.count(HELD) == 1 and not any("not checked" in note for note in found)


def test_runs_that_did_not_look_are_counted_and_records_of_before_say_nothing() -> None:
    found = notes(compare([replace(FULL, contamination=FOUND), RANDOM], {}))
    assert HELD in found and "Contamination was not checked for 1 of 2 runs." in found
    assert not any("checked" in note or "pool holds" in note for note in notes(compare([FULL, RANDOM], {})))


def test_rows_that_were_drawn_more_than_once_are_told() -> None:
    repeated = [
        replace(run, subset=replace(run.subset, coverage=replace(run.subset.coverage, kept_distinct=kept)))
        for run, kept in ((run_of("tive", {"a": 40.0}, seed=seed), 25 + seed) for seed in (0, 1))
    ]
    found = notes(compare([FULL, RANDOM, *repeated], {}))
    assert "Some rows were drawn more than once: tive at 30 %: 30 draws of 25 to 26 distinct rows." in found
    assert not any("more than once" in note for note in notes(compare([FULL, RANDOM], {})))


def test_how_clearly_full_beats_chance_is_told_of_every_benchmark() -> None:
    """One standard error is 1 point."""
    seen = compare([run_of("full", {"a": 50.0, "b": 26.0})], {name: Reference(chance=25.0) for name in "ab"})
    assert any(note.endswith("Standard errors above it: a 25.0, b † 1.0.") for note in notes(seen))
    alike = compare([run_of("full", {"a": 0.0}, stderr=0.0)], {"a": Reference(chance=25.0)})
    assert any(note.endswith("above it: a † unknown (all items have the same score).") for note in notes(alike))


def test_seeds_that_took_longer_a_step_than_a_free_machine_explains_are_told() -> None:
    def at(seed: int, seconds: float) -> RunRecord:
        run = run_of("random", {"a": 40.0}, seed=seed)
        slow = replace(run.costs.finetune, seconds=seconds * run.recipe.steps)
        return replace(run, costs=replace(run.costs, finetune=slow))

    found = notes(compare([FULL, at(0, 1.0), at(1, 1.6)], {}))
    assert sum("random at 30 % (1.00 to 1.60 s)" in note for note in found) == 1
    assert not any("Seconds per training step" in note for note in notes(compare([FULL, at(0, 1.0), at(1, 1.4)], {})))


def test_other_numbers_of_devices_are_told_and_their_seconds_are_no_sign_of_a_busy_machine() -> None:
    def on(devices: int, seed: int, seconds: float) -> RunRecord:
        run = run_of("random", {"a": 40.0}, seed=seed, seconds=(0.0, 0.0, seconds))
        return replace(run, recipe=replace(run.recipe, strategy={"kind": "ddp", "devices": devices}))

    full = replace(FULL, recipe=replace(FULL.recipe, strategy={"kind": "ddp", "devices": 8}))
    found = notes(compare([full, on(8, 0, 30.0), on(4, 1, 60.0)], {}))
    assert sum(note.startswith("Trained on 8 or 4 devices, which changes") for note in found) == 1
    assert not any("Seconds per training step" in note for note in found)
    found = notes(compare([full, on(8, 0, 30.0), on(8, 1, 60.0)], {}))
    assert not any("Trained on" in note for note in found)
    assert any("Seconds per training step" in note for note in found)


def test_rows_that_trained_at_different_speeds_are_told() -> None:
    """6e10 operations in 3 s and in 4.4 s are 20 and 13.6 billion a second; in 6 s they are 10 billion."""

    def took(method: str, seconds: float, flops: float | None) -> RunRecord:
        record = run_of(method, {"POPE": 50.0}, seconds=(0.0, 0.0, seconds))
        finetune = replace(record.costs.finetune, flops=flops)
        return replace(record, costs=replace(record.costs, finetune=finetune))

    def pace_notes(*records: RunRecord) -> list[str]:
        return [note for note in notes(compare(records, {})) if "operations a second" in note]

    assert pace_notes(took("random", 3.0, 6e10), took("prism", 4.4, 6e10)) == []
    assert pace_notes(took("random", 3.0, None), took("prism", 6.0, 6e10)) == []
    (note,) = pace_notes(took("random", 3.0, 6e10), took("prism", 6.0, 6e10))
    assert "(from 10 billion for prism at 30 % to 20 billion for random at 30 %)" in note


def test_answers_that_may_depend_on_their_batch_are_told_with_what_a_sample_says() -> None:
    def asked(changed: int | None) -> RunRecord:
        batching = None if changed is None else BatchingEntry(invariant=False, sampled=16, changed=changed)
        evaluator = {n: replace(e, batching=batching) for n, e in FULL.suite.evaluator.items()}
        return replace(FULL, suite=replace(FULL.suite, evaluator=evaluator))

    found = notes(compare([asked(2)], {}))
    assert "Answers may depend on their batch: of 16 that were asked again, each alone, 2 changed." in found
    assert asked(2).name == asked(None).name  # what came out is no part of a run's name
    assert not any("batch" in note for note in notes(compare([asked(None)], {})))


def test_a_judge_without_a_name_is_unknown() -> None:
    odd = replace(
        run_of("full", {"a": 50.0, "b": 50.0}, evaluator={"a": {"judge": "url", "generation": {"judge": 3}}}),
        contamination={"a": {"items": 7}},
    )
    found = notes(compare([odd], {}))
    assert "Scored by the judge model unknown: a." in found
    assert "Contamination check: of the suite's 7 items, 0 are in the pool, and 0 have a near-duplicate there." in found


def test_random_is_not_counted_as_a_method_that_shares_its_spread() -> None:
    chosen = [run_of(f"m{n}", {"a": 40.0 + n + 2 * seed}, seed=seed) for n in range(9) for seed in (0, 1)]
    drawn = [run_of("random", {"a": 40.0 + 2 * seed}, seed=seed) for seed in (0, 1)]
    found = notes(compare([FULL, *drawn, *chosen], {}))
    assert sum("is estimated from all 9 methods and random at the budget together" in note for note in found) == 1
