"""What the README tells a newcomer to type works."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from hydra.utils import instantiate

from selectmm.front import check_overrides, command_files, words_of
from selectmm.methods.check import check_method

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
METHODS = (ROOT / "selectmm" / "methods" / "README.md").read_text()


def test_the_method_that_a_newcomer_writes_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", METHODS, re.DOTALL) if "class Shortest" in block)
    config = yaml.safe_load(re.search(r"```yaml\n(.*?)```", METHODS, re.DOTALL)[1])
    module = ModuleType("selectmm.methods.shortest")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # as if the file had been written
    exec(code, module.__dict__)
    check_method(instantiate(config))


def test_the_commands_in_the_readme_name_what_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    commands = re.findall(r"^python -m selectmm ((?:.*\\\n)*.*)$", README + METHODS, re.MULTILINE)
    assert len(commands) > 5
    for command in commands:
        words = command.replace("\\\n", " ").split("#")[0].split()
        words = [word for word in words if "shortest" not in word and "floor" not in word]
        if words[0] in command_files():  # which have options of their own
            check_overrides(ROOT / "configs", [word for word in words if "=" in word])
        elif "--help" not in words and "--dry-run" not in words:
            check_overrides(ROOT / "configs", words_of(words))


def test_every_path_in_the_tree_exists() -> None:
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", README, re.DOTALL)[1]
    inside = tree.split("selectmm/\n")
    top = re.findall(r"^(\S+) ", inside[0] + inside[1].split("\n")[-2], re.MULTILINE)
    package = re.findall(r"^  (\S+)  ", inside[1], re.MULTILINE)
    for name in [*top, *(f"selectmm/{name}" for name in package)]:
        assert (ROOT / name.rstrip("/")).exists(), name


def test_the_table_of_models_has_every_model_of_the_hub() -> None:
    shown = README.split("### Models")[1].split("###")[0]
    named = set(
        re.findall(r"`(\w+)`", "".join(row.split("|")[2] for row in re.findall(r"^\| .*", shown, re.MULTILINE)))
    )
    assert named == {path.stem for path in (ROOT / "configs" / "model").glob("*.yaml")} - {"embedded"}


def test_the_table_of_methods_has_every_method_and_its_measured_cost() -> None:
    shown = README.split("<!-- methods:begin -->")[1].split("<!-- methods:end -->")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", shown, re.MULTILINE))
    yardsticks = {"by_source", "oracle", "one_source"}
    there = {path.stem for path in (ROOT / "configs" / "method").glob("*.yaml")} - yardsticks
    assert named == there, f"README's table of methods lacks, or has too much: {', '.join(sorted(named ^ there))}"
    costs = (ROOT / "results" / "tables" / "method-costs.md").read_text()
    for name, cost in re.findall(r"^\| (`\w+`) \| ([\d.]+) \|", costs, re.MULTILINE):
        row = next(line for line in shown.splitlines() if line.startswith(f"| {name} |"))
        assert row.split("|")[3].strip() == cost, row


def test_what_the_papers_table_tells_stands_on_the_page_that_it_links_to() -> None:
    shown = README.split("## The papers' tables")[1].split("\n## ")[0]
    rows = [line for line in shown.splitlines() if line.startswith("|") and "results/tables/" in line]
    told = 0
    for row in rows:
        pages = "".join((ROOT / page).read_text() for page in re.findall(r"\((results/tables/[\w-]+\.md)\)", row))
        for claim in re.findall(r"[\w/]+ \([+-]\d+\.\d ± \d+\.\d\)|\d+\.\d ± \d+\.\d", row):
            assert claim in pages, (claim, row)
            told += 1
    assert told > 10
