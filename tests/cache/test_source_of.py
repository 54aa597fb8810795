"""The code that a stage's name stands for."""

import ast
import importlib
import io
from pathlib import Path
from tokenize import COMMENT, DEDENT, INDENT, NL, generate_tokens

import pytest

from selectmm.cache import source_code
from selectmm.cache.source_code import code_of, source_of
from selectmm.methods.el2n import El2n
from selectmm.methods.full import Full
from selectmm.methods.ifd import Ifd
from selectmm.methods.prism import Prism


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
            file.write("mended = 1\n")
        seen.append(source_of(made))
    assert seen[0] == seen[1] and len(set(seen)) == 4
    assert seen[0].startswith(f"{package}.terse.Terse@")


def _changed_by(target: str, files: dict[str, str], touched: str, root: Path, line: str = "mended = 1\n") -> bool:
    """Whether a line more in one file of a project under ``root`` gives an object of a class there another source."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    module, _, kind = target.rpartition(".")
    made = getattr(importlib.import_module(module), kind)()
    before = source_of(made)
    with (root / touched).open("a") as file:
        file.write(line)
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


def test_a_docstring_counts_in_a_project_that_reads_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt may stand there."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, reads in (("own_h", "print(1)"), ("own_i", "print(__doc__)")):
        files = {f"{name}.py": f"from {name}_ask import ask{CLASS}", f"{name}_ask.py": f"def ask():\n    {reads}\n"}
        assert _changed_by(f"{name}.Terse", files, f"{name}.py", tmp_path, '"""Is it good?"""\n') == ("doc" in reads)


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


PLAIN = """import a


class A:
    x = 1

    def f(self):
        y = 'one'
        return (y,
                2)
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import a", "# Why.\n\nimport a  # how"),
        ("import a", '"""What\nit is for."""\nimport a'),
        ("    x = 1\n", '    """What."""\n\n    x = 1\n    """The number."""\n'),
        ("        y =", '        r"""It says "what".\n\n        # Not how.\n        """\n        y ='),
        ("(y,\n", "(y,\n\n  # two\n\n"),
        ("(self):\n", "(self):  # of it\n\n   \n"),
        ("import a\n", 'import a\n"""Größe\n→ Maß."""  \n'),
    ],
)
def test_what_explains_code_is_no_part_of_it(old: str, new: str) -> None:
    assert old in PLAIN and code_of(PLAIN.replace(old, new)) == code_of(PLAIN)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x = 1", "x = 2"),
        ("'one'", "'one # two'"),
        ("'one'", '"""one\n\n# two"""'),
        ("'one'", '"""one\n# two"""'),
        ("        return", "    return"),
        ("x = 1", "'x'; y = 1"),
        ("x = 1\n", "x = 1\n    f'{print(1)}'\n"),
        ("'one'", "'one' 'two'"),
    ],
)
def test_all_else_is(old: str, new: str) -> None:
    assert old in PLAIN and code_of(PLAIN.replace(old, new)) != code_of(PLAIN)


def test_no_two_texts_that_run_otherwise_have_one_code() -> None:
    texts = [
        "'one'",
        '"""one\n\n# two"""',
        '"""one\n# two"""',
        '"""one\n"""',
        "(not\nx)",
        "(notx)",
        "(x, # y\n)",
        "(x, )",
    ]
    assert len({code_of(f"y = {text}\n") for text in texts}) == len(texts)


@pytest.mark.parametrize(
    "file", sorted(Path(source_code.__file__).parents[1].rglob("*.py")), ids=lambda file: file.name
)
def test_all_of_our_code_is_kept(file: Path) -> None:
    """Token by token, except that a text alone in its line may be gone; and nothing more can be taken away."""
    text = file.read_text(encoding="utf-8")
    left, code = _tokens(code_of(text)), iter(_tokens(text))
    assert all(one in code for one in left), "in the same order"
    assert not [one for one in code if one.strip()]
    lost = len(_tokens(text)) - len(left)
    alone = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr) and _is_text(node.value)]
    assert lost == 2 * len(alone), "each text, and the end of its line"
    assert code_of(code_of(text)) == code_of(text)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _tokens(text: str) -> list[str]:
    found = generate_tokens(io.StringIO(text).readline)
    return [one.string for one in found if one.type not in (COMMENT, NL, INDENT, DEDENT)]
