"""What the README tells a newcomer to type works."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from hydra.utils import instantiate

from selectmm.front import check_overrides
from selectmm.methods.check import check_method

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_method_in_the_readme_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "class Shortest" in block)
    config = yaml.safe_load(re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1])
    module = ModuleType("selectmm.methods.shortest")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # as if the file had been written
    exec(code, module.__dict__)
    check_method(instantiate(config))


def test_the_commands_in_the_readme_name_what_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    commands = re.findall(r"^python -m selectmm ((?:.*\\\n)*.*)$", README, re.MULTILINE)
    assert len(commands) > 5
    for command in commands:
        words = command.replace("\\\n", " ").split("#")[0].split()
        check_overrides(ROOT / "configs", [word for word in words if "shortest" not in word and "floor" not in word])


def test_every_path_in_the_tree_exists() -> None:
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", README, re.DOTALL)[1]
    inside = tree.split("selectmm/\n")
    top = re.findall(r"^(\S+) ", inside[0] + inside[1].split("\n")[-2], re.MULTILINE)
    package = re.findall(r"^  (\S+)  ", inside[1], re.MULTILINE)
    for name in [*top, *(f"selectmm/{name}" for name in package)]:
        assert (ROOT / name.rstrip("/")).exists(), name
