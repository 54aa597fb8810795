"""The code that a stage's result follows from."""

import ast
import hashlib
import inspect
import io
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.util import resolve_name as resolve_import
from itertools import accumulate
from pathlib import Path
from pkgutil import resolve_name
from tokenize import COMMENT, DEDENT, INDENT, NEWLINE, NL, STRING, TokenInfo, generate_tokens
from typing import Any

OURS = "selectmm"
BUILT_ON = tuple(f"{OURS}.{folder}." for folder in ("methods", "features", "schedules"))  # by code of one's own
READ = ("__doc__", "getdoc")  # what reads docstrings, as a prompt for example
INSTALLED = {"site-packages", "dist-packages"}  # where everybody's packages lie side by side


def source_of(made: object) -> str:
    """Name of an object's class and a hash of its source, so that a changed method does not get the old result.

    The source is that of its module and of what this one imports, and so on: code that methods share counts as well. Of
    selectmm's own that is the modules beside it, in the same folder. Of anybody else's it is every module of the same
    project (of an installed package: of that package), and what it takes from selectmm's methods, features and
    schedules; and an option that is an object itself counts with its class and source. Comments, blank lines and
    docstrings do not count, unless one of these modules reads docstrings.
    """
    kind = type(made)
    code = _hash_of(kind)
    if parts := [f"{name}={source_of(part)}" for name, part in _parts(made) if not _is_ours(kind, type(part))]:
        code = _short("".join([code, *parts]))
    return f"{kind.__module__}.{kind.__qualname__}@{code}"


def source_named(target: str) -> str:
    """The hash that `source_of` gives, for the function or class that a configuration names, such as ``mine.load``.

    Raises:
        ImportError, AttributeError, ValueError: there is none of that name.
    """
    return _hash_of(resolve_name(target))


@cache
def code_of(source: str) -> str:
    """A module's source without comments, blank lines and texts that stand alone, such as docstrings.

    What is left is as it was written, so it is the same under every version of Python; a syntax tree would not be.
    """
    lines = list(io.StringIO(source))
    starts = [0, *accumulate(map(len, lines))]
    kept, done = [], 0
    for token in _without_effect(list(generate_tokens(iter(lines).__next__))):
        # By rows and lengths: Python 3.12.1 counts columns wrongly where there are letters beyond ASCII.
        row, size = token.start[0], len(token.string)
        if token.type == STRING:  # it begins its line
            begin = starts[row] - len(lines[row - 1].lstrip())
        else:  # it ends its line, but for the line's end
            begin = starts[row] - size - (token.type == COMMENT and lines[row - 1].endswith("\n"))
        kept.append(source[done:begin].rstrip(" \t"))
        done = begin + size
    return "".join([*kept, source[done:]])


def _without_effect(tokens: Sequence[TokenInfo]) -> Iterator[TokenInfo]:
    """Comments, texts that stand alone with the end of their line, and ends of lines without anything else."""
    last = 0  # line of the last token that has an effect
    fresh = True  # nothing of a statement has come yet
    for token, following in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        alone = fresh and token.type == STRING and following.type == NEWLINE and token.string[0] in "\"'rRuU"
        emptied = token.type == NL and token.start[0] != last
        ended = token.type == NEWLINE and fresh
        if alone or emptied or ended or token.type == COMMENT:
            yield token
            continue
        if token.type not in (INDENT, DEDENT, NL):
            fresh, last = token.type == NEWLINE, token.end[0]


def _parts(made: object) -> Iterator[tuple[str, object]]:
    """Options that are dataclasses themselves, also in a list or a mapping: a cache's name has their fields alone."""
    options = {one.name: getattr(made, one.name) for one in fields(made)} if is_dataclass(made) else {}
    for name, value in options.items():
        inside = dict(enumerate(value)) if isinstance(value, list | tuple) else value
        for key, part in [("", value), *(inside.items() if isinstance(inside, dict) else ())]:
            if is_dataclass(part) and not isinstance(part, type):
                yield f"{name}.{key}", part


def _is_ours(*kinds: type) -> bool:
    return all(kind.__module__.partition(".")[0] == OURS for kind in kinds)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _hash_of(made: Any) -> str:
    """16 hex characters over the source of the module of a class or function, and of what it imports."""
    sources: dict[str, str] = {}
    _read_sources(Path(inspect.getfile(inspect.unwrap(made))), made.__module__, sources)
    texts = [sources[name] for name in sorted(sources)]
    if not any(word in text for text in texts for word in READ):
        texts = [code_of(text) for text in texts]
    return _short("".join(texts))


def _read_sources(file: Path, module: str, found: dict[str, str]) -> None:
    """Add the source of a module, and of what it imports that counts, to ``found``, by the module's name."""
    found[module] = file.read_text(encoding="utf-8")
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for name in _imports(found[module], package):
        if name not in found and (there := _counted(name, module, package, file)) is not None:
            _read_sources(there, name, found)


def _counted(name: str, module: str, package: str, file: Path) -> Path | None:
    """The file of an imported module that counts; None of any other, and of what is no module."""
    if module.partition(".")[0] == OURS:
        beside = file.with_name(f"{name.removeprefix(f'{package}.')}.py")
        return beside if name.rpartition(".")[0] == package and beside.exists() else None
    if name.partition(".")[0] == OURS:
        return _file_of(name, Path(__file__).parents[2]) if name.startswith(BUILT_ON) else None
    root = file.parents[module.count(".") + (file.name == "__init__.py")]
    same = name.partition(".")[0] == module.partition(".")[0] or not INSTALLED & set(root.parts)
    return _file_of(name, root) if same else None


def _file_of(module: str, root: Path) -> Path | None:
    place = root.joinpath(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def _imports(source: str, package: str) -> tuple[str, ...]:
    """What a module of ``package`` imports; a stage asks for the same sources once per feature, and parsing is slow."""
    return tuple(name for node in ast.walk(ast.parse(source)) for name in _imported(node, package))


def _imported(node: ast.AST, package: str) -> list[str]:
    """What an import statement names: modules, or what is in them."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    source = resolve_import("." * node.level + (node.module or ""), package) if node.level else str(node.module)
    return [source, *(f"{source}.{alias.name}" for alias in node.names)]
