"""What a benchmark gives without seeing, without knowing and without fine-tuning."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from selectmm.errors import UserError
from selectmm.records.reading import Mismatch, read


@dataclass(frozen=True)
class Reference:
    """Reference scores of one benchmark, in the table's unit; None where one was not measured.

    Attributes:
        chance: what guessing scores. majority: what the most frequent answer scores.
        blind: the base model, same question, no image. shuffled: the base model, another item's image.
        base: the base model as it is, before any fine-tuning.
    """

    chance: float | None = None
    majority: float | None = None
    blind: float | None = None
    shuffled: float | None = None
    base: float | None = None


References = Mapping[str, Reference]
"""Reference scores by benchmark name."""

KINDS = tuple(entry.name for entry in fields(Reference))


def load_references(path: Path) -> References:
    """Read ``{benchmark: {"chance": …, "majority": …, "blind": …, "shuffled": …, "base": …}}``; kinds may be absent.

    Raises:
        UserError: it is not there, or does not look like this.
    """
    try:
        content = json.loads(path.read_bytes())
        whole = read(Mapping[str, Mapping[str, float | None]], content)
        return {name: read(Reference, dict.fromkeys(KINDS) | dict(entry), f"'{name}'") for name, entry in whole.items()}
    except OSError as problem:
        raise UserError(f"There are no reference scores at {path} ({problem.strerror}).") from problem
    except (ValueError, Mismatch) as problem:
        raise UserError(
            f'Reference scores {path}: {problem}; they look like {{"benchmark": {{"chance": 25.0, "blind": 31.2}}}}.'
        ) from problem
