"""What was found when a pool was looked at."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Health:
    """What was found in a pool as it was read: counts, and positions among the rows that can be read, ascending.

    Attributes:
        rows: that can be read, the other bad ones included.
        missing_image, broken_image, empty_answer: bad rows. truncated_image: those of ``broken_image`` whose file opens
            but ends too early.
        unplaced, spoken, system, trimmed: good rows of which something has to be said, see `selectmm.pool.row.Row`.
        unfilmed: good rows that say ``<video>`` without a clip.
        left_out: rows that the pool was asked to leave out.
        untrained: good rows with an answer that is context only.
        unread: bad rows that cannot be read, by reason; they have no position. examples: the first sentences of each.
        fields: rows that have a field which is not read, by its name.
        blank: numbers of the file's lines that hold no row and lie in front of one, ascending.
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
    unfilmed: list[int] = field(default_factory=list)
    untrained: list[int] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)
    blank: list[int] = field(default_factory=list)

    @property
    def bad(self) -> list[int]:
        """Positions of all bad rows that can be read, ascending."""
        return sorted({*self.missing_image, *self.broken_image, *self.empty_answer})

    @property
    def reasons(self) -> dict[str, int]:
        """Bad rows by what follows "rows with"; a row may have several reasons."""
        looked = {
            "a missing image": len(self.missing_image),
            "a broken image": len(self.broken_image),
            "an empty answer": len(self.empty_answer),
        }
        return {reason: count for reason, count in {**self.unread, **looked}.items() if count}

    @property
    def bad_rows(self) -> int:
        """How many rows are bad, whatever the reason."""
        return len(self.bad) + sum(self.unread.values())
