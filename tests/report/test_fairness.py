"""What is said of rows that should not be held against each other as they are."""

from dataclasses import replace

from selectmm.records.record import RunRecord
from selectmm.report.fairness import fairness
from selectmm.report.notes import notes
from selectmm.report.rows import compare
from tests.report.runs import run_of

FULLS = [run_of("full", {"a": 50.0 + seed}, seed=seed) for seed in (0, 1)]
RANDOMS = [run_of("random", {"a": 40.0 + seed}, seed=seed) for seed in (0, 1)]


def said(*records: RunRecord) -> list[str]:
    return fairness(compare([*FULLS, *records], {}))


def test_a_row_without_a_random_one_beside_it_is_named_with_what_to_run() -> None:
    """A list of rows keeps its own number; nothing is said where the table compares no row with random."""
    listed = [run_of("from_indices", {"a": 45.0}, seed=seed, budget=0.29) for seed in (0, 1)]
    beside = run_of("prism", {"a": 44.0}, seed=0)
    assert said(*RANDOMS, *listed, beside) == [
        "Not compared with random, as no random run here has the same budget and recipe: from_indices at 29 %, "
        "toy-epochs. Run method=random with that recipe and budget=29."
    ]
    assert said(*RANDOMS, beside) == said(*listed) == []


def test_two_names_of_one_run_are_not_said_to_stand_alone() -> None:
    prism = run_of("prism", {"a": 44.0})
    other = replace(run_of("length", {"a": 44.0}), subset=prism.subset)
    assert said(*RANDOMS, prism, other) == []


def test_seeds_that_were_chosen_by_different_code_are_told() -> None:
    """Records of before do not know their code."""

    def mine(seed: int, code: str | None) -> RunRecord:
        return replace(run_of("mine", {"a": 45.0}, seed=seed), code=code)

    [note] = said(*RANDOMS, mine(0, "aaaa"), mine(1, "bbbb"), mine(2, "bbbb"))
    assert note == (
        "The code of mine at 30 %, or of its features, was changed between its seeds (seed 0 by aaaa; seed 1, 2 by "
        "bbbb), so their mean may not be that of one method; run all seeds with one version."
    )
    assert said(*RANDOMS, mine(0, "aaaa"), mine(1, "aaaa"), mine(2, None)) == []


def test_methods_that_were_given_examples_of_the_benchmarks_are_named() -> None:
    aimed = [replace(run_of(name, {"a": 45.0}), targets="examples0") for name in ("rds_plus", "icons")]
    assert said(*RANDOMS, *aimed) == [
        "Given examples of the benchmarks to choose for, which the others do not see: icons, rds_plus."
    ]


def test_a_single_full_run_has_no_seeds_that_an_interval_could_cover() -> None:
    def covers(*fulls: RunRecord) -> bool:
        [note] = [note for note in notes(compare([*fulls, *RANDOMS], {})) if note.startswith("Comparisons with random")]
        assert ("(of the full run too)" in note) != ("(not of the full run, which has one)" in note)
        return "(of the full run too)" in note

    assert covers(*FULLS) and not covers(FULLS[0])
