"""What was found when a pool was looked at."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Health:
    """What was found in a pool as it was read: counts of rows, and the bad rows by reason."""

    rows: int
    text_only: int
    unique_images: int
    per_source: dict[str, int]
    missing_image: list[int]
    broken_image: list[int]
    empty_answer: list[int]

    @property
    def bad(self) -> list[int]:
        """Positions of all bad rows, ascending."""
        return sorted({*self.missing_image, *self.broken_image, *self.empty_answer})
