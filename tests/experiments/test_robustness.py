"""The same runs analysed in other ways: invented records, whose verdicts are worked out by hand."""

from pathlib import Path

import pytest

from experiments.studies.robustness import ALL, NAME, REPORTED, ROOT, TAUGHT, WELCH, analysed, make
from selectmm.errors import UserError
from selectmm.records.record import RunRecord
from selectmm.report.references import Reference
from selectmm.report.rows import compare
from tests.report.runs import run_of

REFERENCES = {"A": Reference(chance=0.0, base=10.0), "B": Reference(base=50.0), "C": Reference(chance=99.0)}


def records() -> list[RunRecord]:
    """One standard error over items is 1 point of a score. Seeds differ by nothing, but for those of ``prism``."""
    scores = {"full": (50.0, 50.0, 50.0), "random": (30.0, 50.0, 50.0), "length": (40.0, 50.0, 50.0)}
    scores |= {"el2n": (30.0, 50.0, 0.0), "prism": (40.0, 50.0, 50.0)}
    return [
        run_of(
            method,
            {"A": a + (20 * (seed - 1) if method == "prism" else 0), "B": b, "C": c},
            seed=seed,
            stderr=1.0,
        )
        for method, (a, b, c) in scores.items()
        for seed in (0, 1, 2)
    ]


def test_each_analysis_counts_other_benchmarks() -> None:
    """C is at chance; full is above the untuned model on A alone. el2n fails on C, length is better on A."""
    analyses, without = analysed(compare(records(), REFERENCES), REFERENCES)
    signs = {one.name: one.signs for one in analyses}
    assert signs[REPORTED] == {"length": 1, "el2n": 0, "prism": 0}
    assert signs[ALL] == {"length": 1, "el2n": -1, "prism": 0}
    assert signs[TAUGHT] == {"length": 1, "el2n": 0, "prism": 0}
    values = {one.name: one.found["length"].value for one in analyses}
    assert values == {REPORTED: 10.0, WELCH: 10.0, ALL: pytest.approx(20 / 3), TAUGHT: 20.0}
    assert {one.name: one.signs["length"] for one in without} == {"A": 0, "B": 1}


def test_welch_s_test_takes_each_methods_own_variance() -> None:
    """With ten rows or more the report lets the others' variances lower that of ``prism``, whose seeds differ most."""
    off = (-1.0, 0.0, 1.0)
    calm = [
        run_of(f"calm{i}", {"A": 30.0 + (1 + i / 10) * off[seed], "B": 50.0, "C": 50.0}, seed=seed, stderr=1.0)
        for i in range(12)
        for seed in range(3)
    ]
    kept = [run for run in records() if run.method.name in ("full", "prism", "random")]
    analyses, _ = analysed(compare([*kept, *calm], REFERENCES), REFERENCES)
    margins = {one.name: {name: found.margin for name, found in one.found.items()} for one in analyses}
    assert margins[WELCH]["prism"] > 1.3 * margins[REPORTED]["prism"]
    assert margins[WELCH]["calm5"] < margins[WELCH]["prism"] / 5


def test_the_page_says_what_holds_everywhere(tmp_path: Path) -> None:
    text = make(tmp_path, records(), {}).read_text()
    assert "- Significant in every analysis: none.\n" in text, "without A nothing is left of length's difference"
    assert "- Significant in some: length (+6.7 ± " in text, "the references are of another model, so C counts too"
    line = next(line for line in text.splitlines() if line.startswith("| length |"))
    assert line.endswith("| A (–) |")


def test_too_few_runs_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There are too few runs to compare; run experiments=studies/all_methods"):
        make(tmp_path, [one for one in records() if one.method.name != "full"], {})


@pytest.mark.slow
def test_the_committed_page_is_made_again(tmp_path: Path) -> None:
    assert make(tmp_path).read_text() == (ROOT / "results" / "tables" / f"{NAME}.md").read_text()
