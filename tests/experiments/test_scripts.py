"""Every script of experiments/ can be imported: what it uses of the package is there."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "experiments").rglob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_can_be_imported(script: str) -> None:
    importlib.import_module(script.removesuffix(".py").replace("/", "."))
