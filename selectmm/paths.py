"""Where the files beside the code are: in the repository, or inside an installed package."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
INSTALLED = PACKAGE / "shipped"  # setup.py puts the files there when it builds a wheel
ROOT = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent
"""The folder that holds ``configs/``, ``experiments/`` and ``results/``."""


def here_or_shipped(path: Path) -> Path:
    """The file ``path`` if it exists, else the one of the same relative path that comes with selectmm."""
    return path if path.exists() else ROOT / path
