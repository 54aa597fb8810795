"""What a pool that papers use should hold: rows per source, and the folders of its images."""

from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).parent / "compositions"


@dataclass(frozen=True)
class Composition:
    """The composition of a pool as published; the files say where.

    Attributes:
        sources: by our name of a source (mostly the first folder of its images), the data sets in it and their rows.
        folders: of images, below the image root.
    """

    rows: int
    sources: dict[str, dict[str, int]]
    folders: list[str]

    def expected(self) -> dict[str, int]:
        """Rows by source."""
        return {name: sum(parts.values()) for name, parts in self.sources.items()}


def known(pool: str) -> Composition | None:
    """The composition of the pool that a config of that name opens; None if it is not known."""
    file = HERE / f"{pool}.yaml"
    return Composition(**yaml.safe_load(file.read_text(encoding="utf-8"))) if file.is_file() else None
