"""The code that a stage's result follows from."""

import ast
import hashlib
import inspect
from functools import cache
from importlib.util import resolve_name as resolve_import
from pathlib import Path
from pkgutil import resolve_name
from typing import Any


def source_of(made: object) -> str:
    """Name of an object's class and a hash of its source, so that a changed method does not get the old result.

    The source is that of its module and of the modules beside it, in the same folder, that this one imports, and so on:
    code that methods share counts as well.
    """
    kind = type(made)
    return f"{kind.__module__}.{kind.__qualname__}@{_hash_of(kind)}"


def source_named(target: str) -> str:
    """The hash that `source_of` gives, for the function or class that a configuration names, such as ``mine.load``.

    Raises:
        ImportError, AttributeError, ValueError: there is none of that name.
    """
    return _hash_of(resolve_name(target))


def _hash_of(made: Any) -> str:
    """16 hex characters over the source of the module of a class or function, and of those beside it."""
    sources: dict[str, str] = {}
    _read_sources(Path(inspect.getfile(inspect.unwrap(made))), made.__module__.rpartition(".")[0], sources)
    return hashlib.sha256("".join(sources[name] for name in sorted(sources)).encode()).hexdigest()[:16]


def _read_sources(file: Path, package: str, found: dict[str, str]) -> None:
    """Add the source of a module of ``package``, and of what it imports from there, to ``found``, by file name."""
    found[file.name] = file.read_text(encoding="utf-8")
    for name in _imports(found[file.name], package):
        beside = file.with_name(f"{name.removeprefix(f'{package}.')}.py")
        if name.rpartition(".")[0] == package and beside.name not in found and beside.exists():
            _read_sources(beside, package, found)


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
