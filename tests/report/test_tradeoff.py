"""The plot: its points and front by hand, labels that overlap nothing, the same bytes each time."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.text import Annotation, Text

from selectmm.report.colours import KNOWN
from selectmm.report.points import COLUMNS, cells, pareto, points
from selectmm.report.rows import Comparison, compare
from selectmm.report.tradeoff import MANY, MARK, draw, save_picture
from tests.report.runs import run_of


def _comparison(methods: int = 2, seeds: int = 3) -> Comparison:
    runs = [run_of("full", {"a": 50.0}, seconds=(0.0, 0.0, 100.0))]
    for number in range(methods):
        for length, tuning in (("epochs", 30.0), ("steps", 100.0)):
            for seed in range(seeds):
                name = "random" if number == 0 else f"method{number}"
                seconds = (float(number), 0.0, tuning)
                runs.append(
                    run_of(name, {"a": 45.0 + number / 4 + seed / 8}, seed=seed, length=length, seconds=seconds)
                )
    return compare(runs, {})


def test_points_by_hand() -> None:
    full, random = points(_comparison(methods=1))[:2]
    assert (full.label, full.cost, full.rel, full.rel_sd) == ("full", 100.0, 100.0, None)
    assert (random.label, random.cost, random.length) == ("random", 30.0, "epochs")
    assert (random.rel, random.rel_sd) == (pytest.approx(90.25), pytest.approx(0.25))


def test_one_seed_shows_its_items_and_several_seeds_their_spread() -> None:
    """A score of 50 ± 1 doubles to a Rel. of 100 ± 2; full is 100 by definition, one stopped early is not."""
    full, early = (run_of("full", {"a": value}, length=kind, seconds=(0.0, 0.0, cost), steps=steps)
                   for value, kind, cost, steps in ((50.0, "epochs", 100.0, 10), (40.0, "steps", 30.0, 3)))  # fmt: skip
    one = run_of("prism", {"a": 45.0})
    several = [run_of("random", {"a": 44.0 + seed}, seed=seed) for seed in range(3)]
    found = {point.label: point for point in points(compare([full, early, one, *several], {}))}
    reached = {label: (point.rel_items, point.reach) for label, point in found.items()}
    assert reached["full"] == (None, 0.0)
    assert reached["random"] == (None, pytest.approx(2.0))
    assert reached["prism"] == reached["full stopped early"] == (pytest.approx(1.96 * 2), pytest.approx(1.96 * 2))


@pytest.mark.parametrize("floor", [53.9, 12.0])
def test_the_most_frequent_answer_is_a_line_that_the_legend_names(floor: float) -> None:
    """Also where it lies far below all that was measured."""
    without, figure = draw(_comparison()), draw(_comparison(), floor)
    found = [{text.get_text() for text in one.legends[0].get_texts()} for one in (without, figure)]
    assert found[1] - found[0] == {"the most frequent answer alone"}
    axes = figure.axes[0]
    assert sum(set(line.get_ydata()) == {floor} for line in axes.get_lines()) == 1
    assert axes.get_ylim()[0] < floor


def test_a_plot_says_what_its_bars_are() -> None:
    one = compare([run_of("full", {"a": 50.0}), run_of("prism", {"a": 45.0})], {})
    found = [{text.get_text() for text in draw(drawn).legends[0].get_texts()} for drawn in (one, _comparison())]
    items, seeds = "95 % over items, of one seed", "± sd over seeds"
    assert items in found[0] and seeds not in found[0]
    assert seeds in found[1] and items not in found[1]


def test_the_points_as_numbers_by_hand() -> None:
    full, random = (dict(zip(COLUMNS, row, strict=True)) for row in cells(_comparison(methods=1))[:2])
    assert (full["run"], full["budget %"], full["cost (% of full)"], full["on the front"]) == (
        "full",
        100.0,
        100.0,
        True,
    )
    assert (random["recipe"], random["seeds"], random["Rel (% of full)"]) == ("toy-epochs", 3, pytest.approx(90.25))
    assert random["Rel sd"] == pytest.approx(0.25) and random["on the front"] is True


def test_several_budgets_are_in_the_labels_and_the_name_stands_once() -> None:
    runs = [run_of("full", {"a": 50.0}), *(run_of("prism", {"a": 45.0}, budget=budget) for budget in (0.1, 0.3))]
    assert [point.label for point in points(compare(runs, {}))] == ["full", "10 %", "prism 30 %"]


def test_what_has_no_rel_has_no_point() -> None:
    runs = [run_of("full", {"a": 50.0}), run_of("prism", {})]
    assert [point.label for point in points(compare(runs, {}))] == ["full"]


def test_full_stopped_early_is_a_point_of_its_own_and_one_run_under_two_recipes_is_one() -> None:
    full = run_of("full", {"a": 50.0}, seconds=(0.0, 0.0, 100.0))
    early = run_of("full", {"a": 40.0}, length="steps", steps=3, seconds=(0.0, 0.0, 30.0))
    same = [run_of("prism", {"a": 45.0}, length=length, steps=3) for length in ("epochs", "steps")]
    found = points(compare([full, early, *same], {}))
    assert [(point.label, point.cost, point.rel) for point in found] == [
        ("full", 100.0, 100.0),
        ("prism", 30.0, 90.0),
        ("full stopped early", 30.0, 80.0),
    ]


def test_full_under_both_lengths_is_one_point() -> None:
    runs = [run_of("full", {"a": 50.0}, length=length) for length in ("epochs", "steps")]
    assert [point.label for point in points(compare(runs, {}))] == ["full"]


def test_the_front_by_hand() -> None:
    assert pareto([(100.0, 100.0), (30.0, 95.0), (40.0, 94.0), (30.0, 93.0), (60.0, 97.0)]) == [1, 4, 0]
    assert pareto([(1.0, 1.0), (1.0, 1.0)]) == [0]
    assert pareto([]) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_nothing_beats_the_front_and_the_front_beats_the_rest(pairs: list[tuple[int, int]]) -> None:
    front = pareto(pairs)
    for index, (cost, rel) in enumerate(pairs):
        beaten = any(pairs[i][0] <= cost and pairs[i][1] >= rel for i in front)
        assert beaten
        if index in front:
            assert not any(c <= cost and r >= rel and (c, r) != (cost, rel) for c, r in pairs)


def test_labels_overlap_nothing_and_stay_inside() -> None:
    figure = draw(_comparison(methods=5))
    figure.draw_without_rendering()
    axes, renderer = figure.axes[0], figure.canvas.get_renderer()
    texts = [text for text in axes.texts if isinstance(text, Annotation)]
    assert len(texts) == 11
    boxes = [Text.get_window_extent(text, renderer) for text in texts]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
        markers = [axes.transData.transform((point.cost, point.rel)) for point in points(_comparison(methods=5))]
        assert not any(box.contains(x, y) for x, y in markers)


def test_a_label_is_text_and_not_longer_than_a_line(tmp_path: Path) -> None:
    paths = ["$x", "a\n" + 90 * "b"]
    files = [
        run_of("from_file", {"a": 40.0}, options={"file": path}, seconds=(cost, 0.0, 30.0))
        for cost, path in enumerate(paths)
    ]
    runs = [run_of("full", {"a": 50.0}), *files]
    found = [text.get_text() for text in draw(compare(runs, {})).axes[0].texts]
    assert "from_file (file=$x)" in found and f"from_file (file=a {'b' * 1}…{'b' * 19})" in found
    save_picture(compare(runs, {}), tmp_path, "toy")


def _luminance(colour: tuple[float, float, float]) -> float:
    """Of sRGB, as WCAG 2 defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_label_has_the_contrast_that_small_text_needs() -> None:
    """4.5 to 1 on white, as WCAG 2 asks for, for every colour that there is."""
    names = ["full", "random", *KNOWN[:6]]
    figure = draw(compare([run_of(name, {"a": 50.0 - place}) for place, name in enumerate(names)], {}))
    colours = {text.get_color() for text in figure.axes[0].texts}
    assert len(colours) == 8
    assert all(1.05 / (_luminance(to_rgb(colour)) + 0.05) >= 4.5 for colour in colours)


def test_the_title_says_the_question_and_the_scale() -> None:
    title = draw(_comparison()).axes[0].get_title(loc="left")
    assert title == "What does a subset cost, and what does it keep?\ntoy · embedded scale"


def test_the_title_names_the_experiment_of_the_methods_where_the_full_run_is_another_one_s() -> None:
    full = replace(run_of("full", {"a": 50.0}), experiment="large")
    figure = draw(compare([full, run_of("random", {"a": 45.0}), run_of("prism", {"a": 44.0})], {}))
    assert figure.axes[0].get_title(loc="left").endswith("\ntoy · embedded scale")


def test_equal_steps_are_hollow() -> None:
    faces = {
        line.get_markerfacecolor()
        for line in draw(_comparison(methods=1)).axes[0].get_lines()
        if line.get_marker() == "o"
    }
    assert faces == {"white", "#767676"}


def test_the_legend_explains_filled_points_only_where_there_are_some() -> None:
    steps = [run_of(name, {"a": value}, length="steps") for name, value in (("full", 50.0), ("prism", 45.0))]
    drawn = [draw(comparison) for comparison in (compare(steps, {}), _comparison())]
    found = [{text.get_text() for text in figure.legends[0].get_texts()} for figure in drawn]
    filled, hollow = "passes over the subset (recipe.length: epochs)", "a number of steps (recipe.length: steps)"
    assert hollow in found[0] and filled not in found[0]
    assert {hollow, filled} < found[1]


def test_two_points_of_one_name_that_would_look_alike_name_their_recipes() -> None:
    """Random for a few steps and for many; prism, which was trained for few alone, needs no recipe."""
    runs = [run_of("full", {"a": 50.0}, length="steps", seconds=(0.0, 0.0, 100.0))]
    runs += [run_of("prism", {"a": 45.0}, length="steps", seconds=(0.0, 0.0, 30.0), steps=3)]
    for steps in (3, 10):
        run = run_of("random", {"a": 40.0 + steps}, length="steps", seconds=(0.0, 0.0, 10.0 * steps), steps=steps)
        runs.append(replace(run, recipe=replace(run.recipe, name=f"steps_{steps}")))
    labels = {point.label for point in points(compare(runs, {}))}
    assert labels == {"full", "prism", "random (steps_3)", "random (steps_10)"}


def test_many_points_have_a_line_each_the_best_on_top() -> None:
    """17 of them: full, and random and seven methods by passes and by steps; 90.25 is the first random's Rel."""
    assert len(points(_comparison(methods=8))) == MANY + 1
    figure = draw(_comparison(methods=8), 53.9)
    kept, paid = figure.axes
    lines = {line.get_gid(): line for line in kept.get_lines() if line.get_gid()}
    assert set(lines) == {f"{MARK}{number}" for number in range(17)}
    names = [text.get_text() for text in kept.get_yticklabels()]
    assert names[-1] == "full" and names[0] == names[1] == "random"
    for number, point in enumerate(points(_comparison(methods=8))):
        (rel,), (place,) = lines[f"{MARK}{number}"].get_data()
        assert (rel, names[place]) == (point.rel, point.label)
        assert paid.patches[place].get_width() == point.cost
    places = [lines[f"{MARK}{number}"].get_ydata()[0] for number in range(17)]
    assert sorted(places) == list(range(17))
    found = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"a random draw", "the most frequent answer alone", "± sd over seeds"} < found
    (bars,) = [line for line in figure.legends[0].get_lines() if line.get_label() == "± sd over seeds"]
    assert bars.get_marker() == "_", "bars are level here"
    upright = [set(line.get_xdata()) for line in kept.get_lines()]
    assert all({value} in upright for value in (53.9, 100, points(_comparison())[1].rel))


def test_a_plot_without_points_says_so() -> None:
    figure = draw(compare([run_of("prism", {"a": 1.0})], {}))
    (axes,) = figure.axes
    assert axes.texts[0].get_text().startswith("No run has a known Rel. and cost;") and not axes.axison


def test_the_same_comparison_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in (tmp_path / "1", tmp_path / "2"):
        folder.mkdir()
        save_picture(_comparison(), folder, "toy")
    for name in ("toy.svg", "toy.png"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
