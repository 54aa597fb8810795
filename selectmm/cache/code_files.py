"""Files of a cached stage that are code, or name functions."""

from collections.abc import Mapping
from pathlib import Path

from selectmm.errors import UserError

CODE_ENDINGS = {".yaml", ".yml", ".py", ".jinja"}


def check_code(folder: Path, wanted: Mapping[str, bytes]) -> None:
    """Whether the files of a stage that name code are those that were written: others may write to a shared cache.

    Args:
        wanted: their content by path below ``folder``.

    Raises:
        UserError: one was changed, added or taken away.
    """
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.suffix in CODE_ENDINGS}
    for name in sorted({*found, *wanted}):
        if name not in wanted or name not in found or found[name].read_bytes() != wanted[name]:
            raise UserError(
                f"{folder / name} in the cache is not what selectmm wrote there; somebody changed it. Delete {folder}, "
                f"and start the same command again."
            )
