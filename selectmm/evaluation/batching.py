"""Whether answers depend on what else is in the batch, and where they may, how many of a sample do."""

from collections.abc import Iterable
from dataclasses import dataclass

SAMPLE = 16  # items that are answered again, each alone; a long answer at a time, so they are few


@dataclass
class Batching:
    """What is known of one task's answers.

    Attributes:
        invariant: whether whoever answers promises that an answer does not depend on the batch.
        sampled: items that were answered a second time, alone, where there is no such promise.
        changed: those of them whose second answer is another.
    """

    invariant: bool
    sampled: int = 0
    changed: int = 0

    def note(self, differs: Iterable[bool]) -> None:
        """Count items that were answered twice; ``differs`` says of each whether the answers do."""
        for one in differs:
            self.sampled += 1
            self.changed += one


def sample(items: int) -> list[int]:
    """At most `SAMPLE` positions of ``items``, evenly spread."""
    return sorted({place * items // SAMPLE for place in range(SAMPLE)} & set(range(items)))
