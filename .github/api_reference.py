"""Adds the API reference to the site, a hook of MkDocs: a page for each part of the package, from the docstrings."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).parent.parent / "selectmm"
ENDING = ("__init__.py", "__main__.py", "worker.py")  # nothing to import there


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A section of the navigation, with a page for each folder."""
    config.nav.append({"API": [{folder: f"api/{folder}.md"} for folder in _modules()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages, which exist nowhere else."""
    for folder, modules in _modules().items():
        content = "\n\n".join([f"# {folder}", *(f"::: {module}" for module in modules)])
        files.append(File.generated(config, f"api/{folder}.md", content=content))
    return files


def _modules() -> dict[str, list[str]]:
    """By folder, the modules that have public names; those beside the folders under ``selectmm``."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if not path.name.startswith("_") and path.name not in ENDING and "commands" not in parts:
            found.setdefault(parts[1] if len(parts) > 2 else "selectmm", []).append(".".join(parts))
    return found
