"""What the documentation tells a newcomer to type works, and what it claims is what the records say."""

import importlib
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from hydra.utils import instantiate

from selectmm.command_line.help import command_files
from selectmm.command_line.reading import check_overrides, without_verb, words_of
from selectmm.errors import UserError
from selectmm.methods.check import check_method
from selectmm.screen import take_output_options

ROOT = Path(__file__).parent.parent
FOLDERS = ("configs", "experiments", "results", "selectmm", "tests")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
README = (ROOT / "README.md").read_text()
METHODS = (ROOT / "selectmm" / "methods" / "README.md").read_text()


def test_the_method_that_a_newcomer_writes_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", METHODS, re.DOTALL) if "class Shortest" in block)
    config = yaml.safe_load(re.search(r"```yaml\n(.*?)```", METHODS, re.DOTALL)[1])
    module = ModuleType("selectmm.methods.shortest")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # as if the file had been written
    exec(code, module.__dict__)
    check_method(instantiate(config))


BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands_in(pages: Sequence[Path]) -> list[str]:
    """The commands in the pages' code blocks and sentences, each on one line and once, without what follows them.

    Tables that were generated show the commands of their day.
    """
    found: set[str] = set()
    for page in pages:
        text = page.read_text().replace("\\\n", " ")
        found.update(re.findall(r"^(?:python -m )?selectmm (.*)$", "".join(BLOCK.findall(text)), re.MULTILINE))
        found.update(re.findall(r"`(?:python -m )?selectmm\s([^`]+)`", BLOCK.sub("", text)))
    return sorted({" ".join(re.split("[#|]", command)[0].split()) for command in found})


def test_the_method_in_the_readme_keeps_the_contract() -> None:
    blocks = [re.findall(r"```python\n(.*?)```", page, re.DOTALL) for page in (METHODS, README)]
    whole, short = (next(block for block in found if "class Shortest" in block) for found in blocks)
    module = ModuleType("shortest")
    exec(whole.split("@dataclass")[0] + short, module.__dict__)  # the README leaves out the imports
    check_method(module.Shortest())


MADE_BY_THE_READER = "shortest|floor|schedule=again"  # the pages' examples of a method and a schedule of one's own


class ParsedError(Exception):
    """Ends a command as soon as its own parser has read its words, with their choices and values."""


class RefusedError(Exception):
    """What a command's own parser says of words that it cannot take."""


def choices_of_command(name: str, words: Sequence[str]) -> Sequence[str]:
    """What a command with options of its own would take for choices and values of a run."""

    def refuse(parser: ArgumentParser, message: str) -> None:
        raise RefusedError(message)

    def stopping(parse: Callable[..., Namespace]) -> Callable[..., None]:
        def parsed(parser: ArgumentParser, arguments: Sequence[str]) -> None:
            raise ParsedError(*getattr(parse(parser, arguments), "choices", []))

        return parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArgumentParser, "error", refuse)
        for parse in (ArgumentParser.parse_args, ArgumentParser.parse_intermixed_args):
            patch.setattr(ArgumentParser, parse.__name__, stopping(parse))
        with pytest.raises(ParsedError) as ended:
            importlib.import_module(f"selectmm.commands.{command_files()[name].stem}").main(words)
    return ended.value.args


@cache
def check_choices(words: tuple[str, ...]) -> None:
    """Once for several commands with the same choices, because it takes most of a second."""
    if words:
        check_overrides(ROOT / "configs", words)


@pytest.mark.parametrize("command", commands_in([page for page in DOCUMENTS if "tables" not in page.parts]))
def test_a_command_in_the_documentation_names_what_exists(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    typed = re.sub(r"--config-dir \S+ ", "", command).split()  # the reader's folder
    whole = "…" not in command and any(re.search("[=-]", word) for word in typed[1:])  # not only the command's name
    known = [word for word in typed if not re.search(f"…|^\\[|^<|{MADE_BY_THE_READER}", word)]
    words = without_verb(take_output_options(known)[0])
    if "--dry-run" in words:
        words = ["plan", *(word for word in words if word != "--dry-run")]
    if words and words[0] in command_files():
        try:
            check_choices(tuple(choices_of_command(words[0], words[1:])))
        except RefusedError as refused:
            assert not whole and "arguments are required" in str(refused), refused
        except UserError as problem:
            assert not whole and len(typed) == 1, problem  # export and inspect, which want to know what
    elif not {"--help", "--version"} & set(words):
        check_choices(tuple(words_of(words)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "--gpus"], "There is no option '--gpus': did you mean '--gpu'?"),
        (["report"], "the following arguments are required: RECORD"),
        (["export", "subset", "--format", "csv", "--to", "x"], "argument --format: invalid choice: 'csv'"),
        (["cache", "prune", "--days", "3"], "unrecognized arguments: --days 3"),
    ],
)
def test_an_option_that_a_command_lacks_would_be_found(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    with pytest.raises((RefusedError, UserError), match=re.escape(said)):
        choices_of_command(words[0], words[1:])


def test_every_path_in_the_tree_exists() -> None:
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
    inside = tree.split("selectmm/\n")
    top = re.findall(r"^(\S+) ", inside[0] + inside[1].split("\n")[-2], re.MULTILINE)
    package = re.findall(r"^  (\S+)  ", inside[1], re.MULTILINE)
    for name in [*top, *(f"selectmm/{name}" for name in package)]:
        assert (ROOT / name.rstrip("/")).exists(), name


def test_the_table_of_models_has_every_model_of_the_hub() -> None:
    shown = (ROOT / "selectmm" / "models" / "README.md").read_text().split("To build a LLaVA")[0]
    named = set(
        re.findall(r"`(\w+)`", "".join(row.split("|")[2] for row in re.findall(r"^\| .*", shown, re.MULTILINE)))
    )
    assert named == {path.stem for path in (ROOT / "configs" / "model").glob("*.yaml")} - {"embedded", "embedded_clips"}


def test_the_table_of_methods_has_every_method_and_its_measured_cost() -> None:
    shown = README.split("<!-- methods:begin -->")[1].split("<!-- methods:end -->")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", shown, re.MULTILINE))
    yardsticks = {"by_source", "oracle", "one_source"}
    there = {path.stem for path in (ROOT / "configs" / "method").glob("*.yaml")} - yardsticks
    assert named == there, f"README's table of methods lacks, or has too much: {', '.join(sorted(named ^ there))}"
    for row in re.findall(r"^\| `\w+` \|.*", shown, re.MULTILINE):
        name, *_, options = (re.findall(r"`(\w+)`", cell) for cell in row.strip("| ").split(" | "))
        content = yaml.safe_load((ROOT / "configs" / "method" / f"{name[0]}.yaml").read_text())
        groups = {key.partition("@")[2] for one in content.pop("defaults", []) if isinstance(one, dict) for key in one}
        assert set(options) == (content.keys() | groups) - {"_target_"}, row
    costs = (ROOT / "results" / "tables" / "method-costs.md").read_text()
    for name, cost in re.findall(r"^\| (`\w+`) \| ([\d.]+) \|", costs, re.MULTILINE):
        row = next(line for line in shown.splitlines() if line.startswith(f"| {name} |"))
        assert row.split("|")[3].strip() == cost, row


def test_what_the_papers_table_claims_stands_on_the_page_that_it_links_to() -> None:
    shown = (ROOT / "experiments" / "README.md").read_text()
    rows = [line for line in shown.splitlines() if line.startswith("|") and "results/tables/" in line]
    found = 0
    for row in rows:
        pages = "".join((ROOT / page).read_text() for page in re.findall(r"\(\.\./(results/tables/[\w-]+\.md)\)", row))
        for claim in re.findall(r"[\w/]+ \([+-]\d+\.\d ± \d+\.\d\)|\d+\.\d ± \d+\.\d", row):
            assert claim in pages, (claim, row)
            found += 1
    assert found > 10


def test_the_readme_counts_the_scores_and_benchmarks_that_can_be_chosen() -> None:
    files = {path.stem for path in (ROOT / "configs" / "benchmark").glob("*.yaml")}
    several = r"(mmbench|mme|pope|sqa)_\w+$"  # benchmarks with a file for each language, part or split
    benchmarks = {re.sub(several, r"\1", name) for name in files}
    assert f"{len(benchmarks)} published multimodal and text benchmarks ({len(files)} scores)" in README


def test_the_table_of_results_is_what_the_study_s_page_says() -> None:
    """Of its rows: full, random, whatever differs significantly, and the papers that the project started from."""
    page = (ROOT / "results" / "tables" / "all-methods.md").read_text().split("## ")[0]
    lines = [_cells(line) for line in page.splitlines() if line.startswith("| ")]
    head = lines[0]
    cells = {row[0]: dict(zip(head, row, strict=True)) for row in lines if row[head.index("recipe")] != "–"}
    found = re.search(r"Significantly better: (.*?)\. (?:Significantly worse: (.*?)\. )?(?:Signif|No|Unknown)", page)
    significant = set(re.findall(r"([\w/+]+) \(", " ".join(filter(None, found.groups()))))
    shown = README.split("<!-- results:begin -->")[1].split("<!-- results:end -->")[0]
    rows = [_cells(line) for line in shown.strip().splitlines()[2:]]
    assert {row[0] for row in rows} == {"full", "random", "prism", "scalselect", "tive", "dataprophet"} | significant
    for method, relative, difference, total, share, osc in rows:
        its = {name: re.sub(r" \(\d+\)$", "", cell) for name, cell in cells[method].items()}
        assert [relative, total, share, osc] == [its[name] for name in ("Rel. %", "total", "share of full", "OSC")], (
            method
        )
        assert difference == "–" if method in ("full", "random") else f"{method} ({difference})" in page


def test_what_the_readme_says_of_the_study_is_what_its_pages_say() -> None:
    said = " ".join(README.split("<!-- results:end -->")[1].split("## Full scale")[0].split())
    before = " ".join(README.split("<!-- results:begin -->")[0].split())
    report, robust, verdicts = (
        " ".join((ROOT / "results" / "tables" / f"{name}.md").read_text().split())
        for name in ("all-methods", "all-methods-robustness", "verdicts")
    )
    assert f"a difference of {re.search(r'A true difference of ([0-9.]+) points', report)[1]} points" in said
    quickstart = (ROOT / "results" / "tables" / "quickstart.md").read_text()
    kept = [re.search(r"A random 15 % keeps ([0-9.]+)", page)[1] for page in (report, quickstart)]
    assert f"a random 15 % keeps {kept[0]} % of the full run's score here and {kept[1]} % there" in before
    everywhere = re.search(r"Significant in every analysis: (.*?)\. - ", robust)[1]
    assert re.findall(r"([\w/+]+) \(", everywhere) == ["rds_plus", "length", "semdedup"]
    assert "RDS+, length and SemDeDup are better" in said
    number, found = re.search(r"Significant after Holm correction over all (\d+): (.*?)\. - ", verdicts).groups()
    assert f"Over [all {number} comparisons]" in said and "eleven differences from random remain" in said
    assert len(re.findall(r"\([+-]", found)) == 11
    overview = (ROOT / "experiments" / "README.md").read_text()
    assert f"11 of {number}: " in overview and f"[{number} comparisons with random]" in overview


def test_what_the_readme_says_of_the_quickstart_is_what_its_page_says() -> None:
    page = (ROOT / "results" / "tables" / "quickstart.md").read_text()
    said = " ".join(README.split("make quickstart   # compares")[1].split("## Your own data")[0].split())
    for words in (
        "RDS+, which sees examples of the benchmarks, reaches 56.2 % of the full run's score; random reaches 35.6 %",
        "The difference is significant (+20.5 ± 9.9 points, 95 % interval)",
        "Selection and tuning together cost 51 % of full training",
        "PRISM, which sees no benchmark, reaches 39.6 %, not significantly different from random",
    ):
        assert words in said
    for name, relative in (("rds_plus", "56.2"), ("random", "35.6"), ("prism", "39.6")):
        assert re.search(rf"^\| {name} \| 15 % \| embedded \|.*\| {relative} ± ", page, re.MULTILINE)
    assert "Significantly better: rds_plus (+20.5 ± 9.9). No significant difference: prism" in page
    assert re.search(r"^\| rds_plus \|.*\| 51 % \|", page, re.MULTILINE)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_or_a_heading(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"\w+:", target):
            name, _, heading = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page} links to {target}"
            assert not heading or heading in _anchors(file), f"{page} links to {target}"


def test_the_site_has_every_readme_beside_the_code() -> None:
    nav = set(re.findall(r"(\S+\.md)$", (ROOT / ".github" / "mkdocs.yml").read_text(), re.MULTILINE))
    there = {str(page.relative_to(ROOT)) for page in DOCUMENTS if "tables" not in page.relative_to(ROOT).parts}
    assert nav == there


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _anchors(page: Path) -> set[str]:
    """The anchors that forges give to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
