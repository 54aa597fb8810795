"""What a person would call what a record's configuration describes."""

from collections.abc import Mapping
from pathlib import PurePosixPath


def name_of(config: object) -> str:
    """What a person would call a configured pool or model: its file or checkpoint, else the module that makes it."""
    given = config if isinstance(config, Mapping) else {}
    for key in ("path", "dataset", "file"):
        if given.get(key):
            path = PurePosixPath(str(given[key]).partition("@")[0])
            return path.stem if key == "file" else path.name
    return str(given.get("_target_", "unknown")).split(".")[-2:][0]
