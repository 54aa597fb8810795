"""The page on the architecture says which part imports which; this compares it with the imports in the code."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "selectmm"
PAGE = (PACKAGE / "README.md").read_text()
FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@cache
def places() -> dict[str, str]:
    """Folders and files of the table with the part that each belongs to, in the table's order."""
    rows = re.findall(r"^\| ([\w ]+) \| [^|]+ \| (`.+`) \|$", PAGE, re.MULTILINE)
    return {place: part for part, named in rows for place in re.findall(r"`([^`]+)`", named)}


def parts() -> list[str]:
    """The parts from top to bottom."""
    return list(dict.fromkeys(places().values()))


def part_of(file: str) -> str:
    """The part of a file: that of the longest place which it is or lies in."""
    found = [place for place in places() if file == place or (place.endswith("/") and file.startswith(place))]
    return places()[max(found, key=len)]


def imported_by(file: str) -> Iterator[str]:
    """Files of the package that a file imports, anywhere in it but for the names of types alone."""
    tree = ast.parse((PACKAGE / file).read_text())
    guarded = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    types = {inner for node in guarded for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "selectmm":
            for name in node.names:
                yield _file_of(f"{node.module}.{name.name}") or _file_of(node.module) or ""
        elif isinstance(node, ast.Import):
            yield from filter(None, (_file_of(name.name) for name in node.names))


def _file_of(module: str) -> str | None:
    below = "/".join(module.split(".")[1:])
    return next((file for file in (f"{below}.py", f"{below}/__init__.py".lstrip("/")) if file in FILES), None)


@cache
def imports() -> dict[str, set[str]]:
    """By file, the files that it imports."""
    return {file: set(imported_by(file)) - {file} for file in FILES}


def below() -> dict[str, set[str]]:
    """By part, the parts that it imports."""
    found: dict[str, set[str]] = {part: set() for part in parts()}
    for file, others in imports().items():
        found[part_of(file)] |= {part_of(other) for other in others} - {part_of(file)}
    return found


def drawing() -> list[str]:
    """The picture's lines: parts, and the arrows that do not follow from others."""
    direct, reached = below(), dict[str, set[str]]()
    for part in reversed(parts()):
        reached[part] = direct[part].union(*(reached[other] for other in direct[part]))
    names = {part: part.replace(" ", "_") for part in parts()}
    arrows = [
        f"    {names[part]} --> {names[other]}"
        for part in parts()
        for other in parts()
        if other in direct[part] and not any(other in reached[between] for between in direct[part])
    ]
    return ["flowchart TD", *(f"    {name}[{part}]" for part, name in names.items()), *arrows]


def test_every_file_belongs_to_a_part_and_every_place_exists() -> None:
    assert {part_of(file) for file in FILES} == set(parts())
    assert [place for place in places() if not (PACKAGE / place).exists()] == []


@pytest.mark.parametrize("part", parts())
def test_a_part_imports_only_from_parts_below_it(part: str) -> None:
    order = parts()
    wrong = [
        f"{file} ({part}) imports {other} ({part_of(other)})"
        for file, others in imports().items()
        if part_of(file) == part
        for other in others
        if order.index(part_of(other)) < order.index(part)
    ]
    assert not wrong, f"{'; '.join(sorted(wrong))}: only parts further down in selectmm/README.md may be imported"


def test_no_two_files_import_each_other() -> None:
    try:
        list(TopologicalSorter(imports()).static_order())
    except CycleError as circle:
        pytest.fail(f"These files import one another: {' -> '.join(circle.args[1])}")


def test_the_picture_is_what_the_imports_say() -> None:
    drawn = re.search(r"```mermaid\n(.*?)\n?```", PAGE, re.DOTALL)[1].splitlines()
    assert drawn == drawing(), "put these lines into selectmm/README.md:\n" + "\n".join(drawing())


def test_a_configuration_is_read_at_the_top_only() -> None:
    reads = re.compile(r"^ *(from|import) (hydra|omegaconf)\b", re.MULTILINE)
    users = {file for file in FILES if reads.search((PACKAGE / file).read_text())} - {"features/ranks.py"}
    order = parts()
    assert [file for file in sorted(users) if order.index(part_of(file)) > order.index("instantiate")] == []


def handed_whole() -> Iterator[tuple[str, int, bool]]:
    """Functions that take a whole experiment, with how many of its fields they read and whether they hand it on."""
    for file in FILES:
        for function in ast.walk(ast.parse((PACKAGE / file).read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for argument in function.args.args:
                if argument.annotation is None or ast.unparse(argument.annotation) != "Experiment":
                    continue
                uses = [
                    (parent, node)
                    for parent in ast.walk(function)
                    for node in ast.iter_child_nodes(parent)
                    if isinstance(node, ast.Name) and node.id == argument.arg
                ]
                fields = {parent.attr for parent, _ in uses if isinstance(parent, ast.Attribute)}
                handed_on = any(not isinstance(parent, ast.Attribute) for parent, _ in uses)
                yield f"{file}: {function.name}", len(fields), handed_on


def test_who_takes_a_whole_experiment_hands_it_on_or_reads_more_than_three_of_its_fields() -> None:
    found = list(handed_whole())
    assert len(found) > 10
    assert [name for name, fields, handed_on in found if fields <= 3 and not handed_on] == []


def test_commands_that_only_read_records_start_without_torch() -> None:
    """Its import takes several times as long as most of them do."""
    names = ("cache", "compare", "leaderboard", "power", "report")
    asked = f"import sys, selectmm.__main__\nfrom selectmm.commands import {', '.join(names)}\n"
    asked += "print({'torch', 'transformers', 'datasets'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True).stdout == "set()\n"
