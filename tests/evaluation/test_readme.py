"""The README beside the evaluation's code lists every benchmark as it is configured.

``python -m tests.evaluation.test_readme`` prints the rows that belong there, without their last cell.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from selectmm.evaluation.local import hub_names
from selectmm.evaluation.suite import Benchmark
from selectmm.evaluation.tasks import OURS
from tests.evaluation.material import CONFIGS

README = (CONFIGS.parents[1] / "selectmm" / "evaluation" / "README.md").read_text()
PARTS = sorted((CONFIGS.parent / "benchmark").glob("*.yaml"))


def cells(path: Path) -> list[str]:
    """A benchmark's row: column, suites, task, metric, chance, judge, data."""
    entry = yaml.safe_load(path.read_text())[path.stem]
    entry.pop("_target_")
    made = Benchmark(**entry)
    why = re.search(r"\n  chance: \S+  # (.*)", path.read_text())[1]
    suites = [file.stem for file in sorted(CONFIGS.glob("*.yaml")) if path.stem in _parts(file)]
    ours = [name for name in (made.task, made.exact) if name and (OURS / f"{name}.yaml").exists()]
    judge = {"none": "–", "url": f"judge model; exact: {'`' + made.exact + '`' if made.exact else 'left out'}"}[
        made.judge
    ]
    return [
        made.name,
        ", ".join(suites),
        f"{made.harness}: `{made.task}`{' (ours)' if ours else ''}",
        f"`{made.metric}` × {made.scale}, {made.better} is better",
        f"{'–' if made.chance is None else made.chance}: {why}",
        judge,
        ", ".join(hub_names(made, None)),
    ]


def _parts(suite: Path) -> Sequence[str]:
    """The benchmarks that it lists; none for the built-in suites, which have their own, or are another with changes."""
    defaults = yaml.safe_load(suite.read_text()).get("defaults", [{}])[0]
    return defaults.get("/benchmark@benchmarks", []) if isinstance(defaults, dict) else []


def listed() -> dict[str, list[str]]:
    """The rows of the README's table of benchmarks by their first cell."""
    table = README.split("<!-- benchmarks:begin -->")[1].split("<!-- benchmarks:end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    return {row[0]: row for row in rows}


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_a_benchmark_s_row_is_what_its_file_says(path: Path) -> None:
    expected = cells(path)
    assert listed()[expected[0]][: len(expected)] == expected


def test_the_table_lists_every_benchmark_and_no_other() -> None:
    assert len(listed()) == len(PARTS)


def test_every_stand_in_and_every_task_of_ours_is_explained() -> None:
    for entry in yaml.safe_load((CONFIGS / "mini.yaml").read_text())["benchmarks"]:
        assert re.search(rf"\| {entry['name']} \|.*`{entry['metric']}`.*\| {entry['chance'] or '–'} \|", README)
    for file in OURS.glob("*.yaml"):
        assert f"`{file.stem}`" in README


if __name__ == "__main__":
    for part in PARTS:
        print(f"| {' | '.join(cells(part))} | |")
