"""The code that a stage's name stands for."""

import importlib
from pathlib import Path

import pytest

from selectmm.methods.el2n import El2n
from selectmm.methods.full import Full
from selectmm.methods.ifd import Ifd
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


def _changed_by(target: str, files: dict[str, str], touched: str, root: Path) -> bool:
    """Whether a line more in one file of a project under ``root`` gives an object of a class there another source."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    module, _, kind = target.rpartition(".")
    made = getattr(importlib.import_module(module), kind)()
    before = source_of(made)
    with (root / touched).open("a") as file:
        file.write("# mended\n")
    return source_of(made) != before


CLASS = "\n\nclass Terse:\n    pass\n"


@pytest.mark.parametrize(
    ("target", "files", "touched"),
    [
        (
            "own_a.methods.terse.Terse",
            {
                "own_a/methods/terse.py": f"from own_a.scores.rank import one{CLASS}",
                "own_a/scores/rank.py": "one = 1\n",
            },
            "own_a/scores/rank.py",
        ),
        (
            "own_b.methods.terse.Terse",
            {"own_b/methods/terse.py": f"from ..rank import one{CLASS}", "own_b/rank/__init__.py": "one = 1\n"},
            "own_b/rank/__init__.py",
        ),
        (
            "own_c.Terse",
            {"own_c/__init__.py": f"from .rank import one{CLASS}", "own_c/rank.py": "one = 1\n"},
            "own_c/rank.py",
        ),
        (
            "own_d.Terse",
            {"own_d.py": f"from own_d_ranks.rank import one{CLASS}", "own_d_ranks/rank.py": "one = 1\n"},
            "own_d_ranks/rank.py",
        ),
    ],
)
def test_a_helper_anywhere_in_a_project_of_ones_own_counts(
    target: str, files: dict[str, str], touched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another folder of it, in a package's own file, or in a package beside."""
    monkeypatch.syspath_prepend(tmp_path)
    assert _changed_by(target, files, touched, tmp_path)


def test_other_packages_that_are_installed_beside_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(root)
    files = {"own_e/terse.py": f"from own_e_else import one{CLASS}", "own_e_else.py": "one = 1\n"}
    root.mkdir()
    assert not _changed_by("own_e.terse.Terse", files, "own_e_else.py", root)


def test_what_a_method_of_ones_own_takes_from_ours_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what that takes from the files beside it, but not the pool that it reads."""
    monkeypatch.syspath_prepend(tmp_path)
    uses = "from selectmm.methods.order import ranked_rows\nfrom selectmm.pool.pool import Pool\n"
    (tmp_path / "own_f.py").write_text(f"{uses}{CLASS}")
    read: list[str] = []
    text = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda file, **how: read.append(file.name) or text(file, **how))
    source_of(importlib.import_module("own_f").Terse())
    assert sorted(read) == ["content.py", "order.py", "own_f.py"]


def test_an_option_that_is_an_object_counts_with_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes without options look alike in a cache's name otherwise."""
    monkeypatch.syspath_prepend(tmp_path)
    text = "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Around:\n    inside: object = None\n"
    (tmp_path / "own_g.py").write_text(text)
    around = importlib.import_module("own_g").Around
    assert len({source_of(around(one)) for one in (None, El2n(), Ifd(), [El2n()], {"one": Ifd()})}) == 5
    assert source_of(around(El2n())) == source_of(around(El2n()))


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
