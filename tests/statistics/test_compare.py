"""Two records compared: what is printed, and what cannot be compared."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from selectmm.cache.progress import PrintableConsole
from selectmm.commands.compare import main
from selectmm.errors import UserError
from selectmm.records.files import load, save
from selectmm.screen import output
from selectmm.statistics.compare import compare_files
from selectmm.statistics.page import cells, notes, show
from tests.statistics.runs import answers, written

GOOD, BAD, MIXED = [1.0] * 40, [0.0] * 40, [1.0] * 22 + [0.0] * 18


def test_a_clear_difference_and_noise(tmp_path: Path) -> None:
    first = written(tmp_path, "prism", {"a": answers(GOOD), "b": answers(MIXED)})
    second = written(tmp_path, "random", {"a": answers(BAD), "b": answers(MIXED[::-1])})
    clear, noise = compare_files(first, second).lines
    assert (clear.within_noise, noise.within_noise) == (False, True)
    assert (clear.first, clear.second, clear.items, clear.clusters) == (100, 0, 40, 40)
    assert clear.p == pytest.approx(2 / 2**40) and clear.adjusted == pytest.approx(4 / 2**40)
    assert cells(clear)[3:] == ("+100.0", "+100.0 to +100.0", "0.0000", "0.0000", "40", "40", "first is higher")
    assert cells(noise)[-1] == "not significant"


def test_a_difference_that_hangs_on_one_picture_is_noise(tmp_path: Path) -> None:
    """Forty items of two pictures: McNemar, which knows of no pictures, would call it certain (p = 2 / 2^20)."""
    pictures = ["one"] * 20 + ["other"] * 20
    first = written(tmp_path, "prism", {"a": answers([1.0] * 40, pictures)})
    second = written(tmp_path, "random", {"a": answers([0.0] * 20 + [1.0] * 20, pictures)})
    (line,) = compare_files(first, second).lines
    assert line.clusters == 2 and not line.exact
    assert line.p == pytest.approx(0.5, abs=0.05), "a quarter of all draws is the second picture twice: no difference"
    assert line.difference.low == 0 and line.within_noise


def test_holm_counts_the_benchmarks_that_were_tested(tmp_path: Path) -> None:
    many = {name: answers(MIXED) for name in "bcdef"}
    first = written(tmp_path, "prism", {"a": answers([1.0] * 7 + BAD), **many, "g": answers([None])})
    second = written(tmp_path, "random", {"a": answers([0.0] * 7 + BAD), **many, "g": answers([None])})
    pair = compare_files(first, second)
    assert pair.lines[0].p == pytest.approx(2 / 2**7) and pair.lines[0].adjusted == pytest.approx(6 * 2 / 2**7)
    assert pair.lines[0].within_noise, "0.016 is not enough among six"
    assert cells(pair.lines[-1])[-1] == "unknown"
    text = "\n".join(notes(pair))
    assert "corrected for 6 benchmarks" in text
    assert "g is unknown: its metric cannot be computed from single items." in text


def test_runs_that_were_trained_for_different_lengths_are_told_apart(tmp_path: Path) -> None:
    paths = []
    for epochs in (1, 3):
        path = written(tmp_path / str(epochs), "random", {"a": answers(MIXED)})
        record = json.loads(path.read_text())
        record["recipe"]["options"]["epochs"] = epochs
        path.write_text(json.dumps(record))
        paths.append(path)
    assert compare_files(*paths).apart == ("recipe.epochs",)


def test_one_method_before_and_after_its_code_was_changed_can_be_compared(tmp_path: Path) -> None:
    """Both records have one name, and lie in two folders."""
    paths = []
    for code, right in (("aaaa", GOOD), ("bbbb", BAD)):
        path = written(tmp_path / code, "mine", {"a": answers(right)})
        paths.append(save(replace(load(path), code=code), path.parent))
    assert paths[0].name == paths[1].name
    pair = compare_files(*paths)
    assert pair.lines[0].difference.value == 100.0
    assert "Besides what was chosen, the runs differ in the code that chose the rows." in notes(pair)
    save(replace(load(paths[1]), code="aaaa"), paths[1].parent)
    with pytest.raises(UserError, match="are records of the same run; there is nothing to compare"):
        compare_files(*paths)


def test_points_that_a_table_shows_in_per_cent_are_compared(tmp_path: Path) -> None:
    config = {"suite": {"benchmarks": [{"name": "a", "scale": 0.5}]}}
    paths = []
    for method, right in (("prism", GOOD), ("random", BAD)):
        path = written(tmp_path, method, {"a": answers(right)}, evaluator={"metric": "mme_total_score"})
        paths.append(save(replace(load(path), config=config), path.parent))
    (line,) = compare_files(*paths).lines
    assert line.why == "" and line.difference.value == 100.0


def test_a_record_that_its_answers_do_not_bear_out_is_unknown(tmp_path: Path) -> None:
    first = written(tmp_path, "prism", {"a": answers(GOOD)}, values={"a": 90.0})
    second = written(tmp_path, "random", {"a": answers(MIXED)})
    assert "a is unknown: its answers give 100.00 where the record says 90.00." in notes(compare_files(first, second))


def test_the_same_records_give_the_same_page_and_the_command_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = written(tmp_path, "prism", {"a": answers([0.5, 0.2, 1.0, 0.3])})
    second = written(tmp_path, "random", {"a": answers([0.1, 0.9, 0.4, 0.2])}, lr=1e-3)
    pages = []
    for _ in range(2):
        screen = io.StringIO()
        show(compare_files(first, second), PrintableConsole(200, screen))
        pages.append(screen.getvalue())
    assert pages[0] == pages[1]
    assert " b " in pages[0], "shares of a match are tested by the bootstrap"
    assert "Besides what was chosen, the runs differ in recipe.lr." in pages[0]
    with output(json=True):
        main([str(first), str(second)])
    shown = capsys.readouterr()
    assert "not significant" in shown.err
    document = json.loads(shown.out)
    assert (document["first"]["method"], document["second"]["method"]) == ("prism", "random")
    assert document["first"]["scores"]["a"]["value"] == pytest.approx(50.0)
    (line,) = document["benchmarks"]
    assert (line["benchmark"], line["items"], line["significant"]) == ("a", 4, False)
    assert line["difference"]["low"] <= line["difference"]["value"] <= line["difference"]["high"]
    assert document["apart"] == ["recipe.lr"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"evaluator": {"prompts": "p1"}}, r"were not evaluated alike: evaluator.a.prompts is p0 in one and p1 in the"),
        (
            {"evaluator": {"harness": "lmms-eval 0.8"}},
            r"evaluator.a.harness is lmms-eval 0.7.3 in one and lmms-eval 0.8",
        ),
        ({"made": {"a": answers(GOOD), "b": answers(GOOD)}}, r"Only one of .* has a score on b; run both"),
        ({"made": {"a": answers(GOOD[:-1])}}, r"did not answer the same items of a; run both"),
        ({"made": {"a": answers(GOOD, ["x"] * 40)}}, r"did not answer the same items of a; run both"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, changed: dict[str, object], sentence: str) -> None:
    first = written(tmp_path, "prism", {"a": answers(GOOD)})
    second = written(tmp_path, "random", **{"made": {"a": answers(GOOD)}, **changed})
    with pytest.raises(UserError, match=sentence):
        compare_files(first, second)


def test_another_suite_and_the_same_run(tmp_path: Path) -> None:
    first = written(tmp_path, "prism", {"a": answers(GOOD)})
    with pytest.raises(UserError, match="are records of the same run; there is nothing to compare"):
        compare_files(first, first)
    second = written(tmp_path, "random", {"a": answers(GOOD)})
    second.write_text(second.read_text().replace('"name": "toy"', '"name": "prism"', 1))
    with pytest.raises(UserError, match=r"ran suite 'toy' and .* suite 'prism'; only runs of the same suite"):
        compare_files(first, second)
