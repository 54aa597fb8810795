"""The code that a stage's name stands for."""

import importlib
from pathlib import Path

import pytest

from selectmm.methods.full import Full
from selectmm.methods.prism import Prism
from selectmm.records import source_code
from selectmm.records.source_code import source_of


@pytest.mark.parametrize(
    ("package", "imports"),
    [
        ("mine_a", "from mine_a.order import ranked"),
        ("mine_b", "from .order import ranked"),
        ("mine_c", "from . import order"),
        ("mine_d", "import mine_d.order"),
    ],
)
def test_who_mends_what_methods_share_does_not_get_the_old_result(
    package: str, imports: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever imports it, however; what lies elsewhere, or beside and is not imported, does not count."""
    folder = tmp_path / package
    folder.mkdir()
    files = {
        "__init__": "",
        "terse": f"import json\nimport pytest\n{imports}\n\n\nclass Terse:\n    pass\n",
        "order": f"from {package}.deep import step\n\n\ndef ranked():\n    return step\n",
        "deep": "step = 1\n",
        "other": "",
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module(f"{package}.terse").Terse()
    seen = [source_of(made)]
    for name in ("other", "deep", "order", "terse"):
        with (folder / f"{name}.py").open("a") as file:
            file.write("# mended\n")
        seen.append(source_of(made))
    assert seen[0] == seen[1] and len(set(seen)) == 4
    assert seen[0].startswith(f"{package}.terse.Terse@")


def test_the_source_of_our_methods_holds_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """PRISM's does not change with TIVE's file, and that of full not with PRISM's correlation."""
    read: list[str] = []
    text = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda file, **how: read.append(file.name) or text(file, **how))
    source_of(Prism())
    assert {"prism.py", "correlation.py", "order.py"} <= set(read) and "tive.py" not in read
    read.clear()
    source_of(Full())
    assert "correlation.py" not in read


def test_a_source_that_is_the_same_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = source_of(Prism())
    monkeypatch.setattr(source_code.ast, "parse", lambda _source: pytest.fail("it was parsed again"))
    assert source_of(Prism()) == before
