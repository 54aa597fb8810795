"""Tables: what the cells say, what stands below, and that nothing breaks out of them."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from selectmm.errors import UserError
from selectmm.report.learned import UNMEASURED
from selectmm.report.notes import caption, notes
from selectmm.report.references import Reference, load_references
from selectmm.report.rows import Estimate, compare
from selectmm.report.table import Table, format_estimate, format_time, show, tabulate, to_markdown
from tests.report.runs import run_of

FULL = run_of("full", {"POPE": 80.0, "MMMU": 26.0}, seconds=(0.0, 0.0, 100.0), stderr=2.0)
PRISM = [
    run_of("prism", {"POPE": 72.0 + 4 * seed, "MMMU": 25.0}, seed=seed, seconds=(8.0, 1.0, 30.0)) for seed in (0, 1)
]
REFERENCES = {"POPE": Reference(chance=50.0, base=60.0), "MMMU": Reference(chance=25.0)}


def _table(*records: object, references: dict[str, Reference] = REFERENCES) -> Table:
    comparison = compare(records, references)
    return tabulate(comparison, references, caption(comparison, ""), notes(comparison))


def test_what_keeps_less_than_the_most_frequent_answer_is_told() -> None:
    """It scores 75 of full's 80 on the one benchmark that counts."""
    references = {"POPE": Reference(majority=75.0), "MMMU": Reference(majority=25.0)}
    expected = (
        "Below 93.8 %, which the best constant answer to each benchmark reaches (its most frequent right answer): "
        "prism 30 %."
    )
    assert expected in _table(FULL, *PRISM, references=references).answers
    better = run_of("random", {"POPE": 76.0, "MMMU": 20.0})
    assert expected in _table(FULL, *PRISM, better, references=references).answers
    worse = run_of("random", {"POPE": 70.0, "MMMU": 20.0})
    every = expected.replace("prism 30 %", "random 30 %, prism 30 %")
    assert every in _table(FULL, *PRISM, worse, references=references).answers
    assert _table(FULL, better, references=references).answers[1:] == (UNMEASURED,)


def test_the_whole_table_by_hand() -> None:
    """Rel. counts POPE alone (MMMU is at chance): 90 and 95. OSC: 0.39 / 0.9 and 0.39 / 0.95."""
    table = _table(FULL, *PRISM)
    assert table.columns == (
        "method", "budget", "recipe", "POPE", "MMMU †", "Rel. %", "selection", "tuning", "total",
        "share of full", "OSC",
    )  # fmt: skip
    assert table.rows == (
        ("(chance)", "–", "–", "50.0", "25.0", "62.5", "–", "–", "–", "–", "–"),
        ("(base)", "–", "–", "60.0", "–", "75.0", "–", "–", "–", "–", "–"),
        (
            "full", "100 %", "toy-epochs", "80.0 [± 3.9]", "26.0 [± 3.9]", "100.0", "0.0 s", "100.0 s", "100.0 s",
            "100 %", "1.00",
        ),
        (
            "prism", "30 %", "toy-epochs", "74.0 ± 2.8 (2)", "25.0 ± 0.0 (2)", "92.5 ± 3.5 (2)", "9.0 s", "30.0 s",
            "39.0 s", "39 %", "0.42 ± 0.02 (2)",
        ),
    )  # fmt: skip


def test_what_is_not_known_is_said_and_never_zero() -> None:
    table = _table(FULL, run_of("prism", {"MMMU": 25.0}))
    assert table.rows[-1][3:6] == ("missing", "25.0 [± 2.0]", "unknown")
    assert table.rows[-1][-1] == "unknown"
    assert "Rel. of prism at 30 % (toy-epochs, seed 0) is unknown: it has no score on POPE." in table.notes


def test_one_reason_for_all_is_said_once() -> None:
    table = _table(FULL, *PRISM, references={"POPE": Reference(chance=99.0), "MMMU": Reference(chance=99.0)})
    found = [note for note in table.notes if "unknown" in note]
    assert found == ["Rel. and OSC are unknown: every benchmark is at chance for the full run."]


def test_without_a_full_run_the_table_says_why_there_is_no_rel() -> None:
    table = _table(*PRISM)
    assert table.rows[-1][-6:] == ("unknown", "9.0 s", "30.0 s", "39.0 s", "unknown", "unknown")
    assert any("unknown: these records hold no `full` run; run method=full" in note for note in table.notes)


def test_the_notes_name_what_was_left_out_cached_and_deviated() -> None:
    cached = run_of("prism", {"POPE": 72.0, "MMMU": 25.0}, seconds=(8.0, 1.0, 30.0), cached=True)
    text = "\n".join(_table(FULL, replace(cached, deviations=("The judge was exact.",))).notes)
    assert "At chance, so left out of Rel.: the full run" in text and text.count("MMMU † 0.5.") == 1
    assert (
        "Taken from the cache, and counted with the cost of their first run: features of prism (8.0 s); "
        "select of prism (1.0 s); finetune of prism (30.0 s)."
    ) in text
    assert "Deviation: The judge was exact." in text


def test_the_notes_say_who_scored_what_no_rule_scores() -> None:
    judged = {"judge": "url", "generation": {"judge": {"model": "judge-1", "prompt": "0", "temperature": 0}}}
    evaluator = {"POPE": {"judge": "exact"}, "MMMU": judged}
    found = _table(run_of("full", {"POPE": 80.0, "MMMU": 50.0, "SQA": 9.0}, evaluator=evaluator)).notes
    assert [note for note in found if note.startswith("Scored by")] == [
        "Scored by our offline matcher (judge: exact), not by a judge model; compare such scores only with one "
        "another: POPE.",
        "Scored by the judge model judge-1: MMMU.",
    ]


def test_the_origin_stands_below() -> None:
    dirty = replace(FULL, provenance=replace(FULL.provenance, dirty=True, command="python -m selectmm method=full"))
    found = _table(dirty, *PRISM).notes
    assert "Command: `python -m selectmm method=full`; `python -m selectmm method=prism`" in found
    assert (
        "Commit: 0123456789 + uncommitted changes, 0123456789 · evaluator: lmms-eval 0.7.3, lm-eval 0.4.13 · "
        "scale: embedded"
    ) in found
    assert "Measured on: 2 cores of toy processor" in found


def test_costs_of_different_machines_come_with_a_warning() -> None:
    machine = replace(FULL.provenance.hardware, gpus=("H200",))
    elsewhere = replace(FULL, provenance=replace(FULL.provenance, hardware=machine, commit=None, dirty=None))
    text = "\n".join(_table(elsewhere, *PRISM).notes)
    assert "2 cores of toy processor + H200" in text and "Costs from different machines are not comparable" in text
    assert "unknown (not run from a git checkout)" in text


def test_markdown_is_a_table_that_strangers_cannot_break() -> None:
    bad = replace(PRISM[0], model="<script>|\n", deviations=("a | b <img>", "c\r# d\x1b[31m\u2028e"))
    text = to_markdown(_table(FULL, bad))
    assert "<script>" not in text and "<img>" not in text
    assert "- Deviation: c # d [31m e" in text.split("\n") and len(text.splitlines()) == text.count("\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {12}


@pytest.mark.parametrize("width", [60, 90, 400])
def test_every_cell_reaches_the_screen_whole(width: int) -> None:
    table, screen = _table(FULL, *PRISM), io.StringIO()
    show(table, Console(file=screen, width=width))
    found = screen.getvalue()
    for row in table.rows:
        assert all(cell in found for cell in row)
    assert not re.search(r"\[/?[a-z]", found) and max(len(line) for line in found.splitlines()) <= width


def test_a_terminal_is_sent_no_commands() -> None:
    bad, screen = replace(PRISM[0], deviations=("\x1b]0;title\x07",)), io.StringIO()
    show(_table(FULL, bad), Console(file=screen, width=100))
    assert "title" in screen.getvalue() and "\x1b" not in screen.getvalue() and "\x07" not in screen.getvalue()


def test_square_brackets_are_text_on_the_screen() -> None:
    table, screen = Table("[red]x", ("m", "b", "r", "[b]", *"123456"), (("[bold]", *"123456789"),), ()), io.StringIO()
    show(table, Console(file=screen, width=100))
    assert "[bold]" in screen.getvalue() and "[red]x" in screen.getvalue() and "[b]" in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (119.0, "119.0 s"), (150.0, "2.5 min"), (7200.0, "2.0 h")]
)
def test_times_in_the_unit_that_suits(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


def test_estimates() -> None:
    assert format_estimate(Estimate(1.25, None, 1), 2, "unknown") == "1.25"
    assert format_estimate(Estimate(1.25, 0.5, 3), 1, "unknown") == "1.2 ± 0.5 (3)"
    assert format_estimate(None, 1, "unknown") == "unknown"


def test_references_are_read(tmp_path: Path) -> None:
    path = tmp_path / "references.json"
    path.write_text('{"POPE": {"chance": 50, "blind": 51.5, "base": null}}')
    assert load_references(path) == {"POPE": Reference(chance=50.0, blind=51.5)}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "the expected form is"),
        ("[]", "is .., not an object"),
        ('{"POPE": {"mood": 1}}', "field ''POPE'.mood' is unknown"),
        ('{"POPE": {"chance": "x"}}', "is 'x', not a number"),
    ],
)
def test_references_that_do_not_fit_are_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "references.json"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        load_references(path)


def test_references_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no reference scores at .*gone\.json"):
        load_references(tmp_path / "gone.json")


def test_references_are_measured_against_the_longest_full_run_alone() -> None:
    whole = run_of("full", {"a": 50.0}, stderr=0.1)
    early = run_of("full", {"a": 10.0}, length="steps", steps=3)
    table = tabulate(compare([whole, early], {}), {"a": Reference(base=25.0)}, "", [])
    base = next(row for row in table.rows if row[0] == "(base)")
    assert base[table.columns.index("Rel. %")] == "50.0"
