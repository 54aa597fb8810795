"""Only what can be compared shares a table."""

from dataclasses import replace

import pytest

from selectmm.records.groups import comparable
from selectmm.records.record import RunRecord
from tests.report.runs import run_of

RANDOM = run_of("random", {"a": 1.0})
PRISM = run_of("prism", {"a": 1.0})
BATCH_1 = {"a": {"generation": {"batch_size": 1}}}


def test_methods_budgets_seeds_and_recipe_lengths_share_a_table() -> None:
    others = [
        run_of("prism", {"a": 1.0}, **{key: value})
        for key, value in (("seed", 1), ("budget", 0.1), ("length", "steps"))
    ]
    (group,) = comparable([RANDOM, PRISM, *others])
    assert group.records == (RANDOM, PRISM, *others) and group.apart == ""


def test_other_target_examples_stand_apart_and_what_has_none_beside_each() -> None:
    first, second = (replace(PRISM, targets=name) for name in ("examples0", "examples1"))
    (group,) = comparable([RANDOM, first])
    assert group.records == (RANDOM, first) and group.apart == ""
    one, other = comparable([RANDOM, first, second])
    assert (one.records, other.records) == ((RANDOM, first), (RANDOM, second))
    assert "target examples (here examples0)" in one.apart and "target examples (here examples1)" in other.apart


def test_runs_on_other_numbers_of_devices_share_a_table() -> None:
    """They differ by rounding alone, and have one name (`RunRecord.name`)."""
    more = replace(PRISM, recipe=replace(PRISM.recipe, strategy={**PRISM.recipe.strategy, "devices": 8}))
    (group,) = comparable([RANDOM, more])
    assert group.records == (RANDOM, more) and group.apart == "" and more.name == PRISM.name


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(PRISM, scale="full"), "scale (here full)"),
        (replace(PRISM, model="another"), "base model (here another)"),
        (replace(PRISM, pool=replace(PRISM.pool, fingerprint="pool1")), "pool (here pool1)"),
        (replace(PRISM, suite=replace(PRISM.suite, name="icons")), "suite (here icons)"),
        (run_of("prism", {"a": 1.0}, evaluator=BATCH_1), "evaluator.a.generation.batch_size (here 1)"),
        (run_of("prism", {"a": 1.0, "POPE": 1.0}, evaluator={"POPE": {"limit": 5}}), "benchmarks (here POPE, a)"),
        (run_of("prism", {"a": 1.0}, lr=1e-3), "recipe.lr (here 0.001)"),
        (replace(PRISM, recipe=replace(PRISM.recipe, strategy={"kind": "ddp"})), "strategy.kind (here ddp)"),
    ],
)
def test_what_differs_otherwise_does_not_and_says_why(other: RunRecord, reason: str) -> None:
    first, second = comparable([RANDOM, other])
    assert (first.records, second.records) == ((RANDOM,), (other,))
    assert second.apart.startswith(
        "These records form 2 tables that must not be compared with each other; they differ in "
    )
    assert reason in second.apart


def test_many_differences_are_counted_and_not_listed() -> None:
    few, many = ({"POPE": {"generation": {f"field{i}": value for i in range(9)}}} for value in (0, 1))
    _, other = comparable([run_of("random", {}, evaluator=few), run_of("prism", {}, evaluator=many)])
    assert other.apart.endswith("evaluator.POPE.generation.field4 (here 1) and 4 more.")


def test_many_benchmarks_are_counted() -> None:
    many, few = ({f"B{i}": {} for i in range(count)} for count in (11, 3))
    first, second = comparable([run_of("random", {}, evaluator=many), run_of("prism", {}, evaluator=few)])
    assert first.apart.endswith("they differ in benchmarks (here 11 of them).")
    assert second.apart.endswith("they differ in benchmarks (here B0, B1, B2).")


def test_other_benchmarks_are_named_and_their_settings_are_not() -> None:
    """As with suite.only: what only one side ran differs in every setting."""
    both, one = {"v1.5": {"limit": 1}, "MME": {"limit": 5}}, {"v1.5": {"limit": 2}}
    first, second = comparable([run_of("random", {}, evaluator=both), run_of("prism", {}, evaluator=one)])
    assert first.apart.endswith("they differ in benchmarks (here MME, v1.5), evaluator.v1.5.limit (here 1).")
    assert second.apart.endswith("they differ in benchmarks (here v1.5), evaluator.v1.5.limit (here 2).")
