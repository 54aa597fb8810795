"""What was found when a pool was looked at."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Health:
    """What was found in a pool as it was read: counts, and positions of rows, ascending, by what is odd in them.

    Attributes:
        missing_image, broken_image, empty_answer: bad rows. truncated_image: those of ``broken_image`` whose file opens
            but ends too early.
        unplaced, spoken, system, trimmed: good rows of which something has to be said, see `selectmm.pool.row.Row`.
        left_out: rows that the pool was asked to leave out.
    """

    rows: int
    text_only: int
    unique_images: int
    per_source: dict[str, int]
    missing_image: list[int]
    broken_image: list[int]
    truncated_image: list[int]
    empty_answer: list[int]
    unplaced: list[int]
    spoken: list[int]
    system: list[int]
    left_out: int
    trimmed: list[int] = field(default_factory=list)

    @property
    def bad(self) -> list[int]:
        """Positions of all bad rows, ascending."""
        return sorted({*self.missing_image, *self.broken_image, *self.empty_answer})
