"""What a benchmark gives away without understanding: the score of the best constant answer.

Chance stands in the suite's config; the blind and shuffled-image scores come from `evaluate(..., images=…)`.
"""

from collections import Counter
from collections.abc import Callable, Sequence

TRIED = 3  # of the most frequent targets; F1 may prefer a rarer one ("yes") to the most frequent ("no")


def majority(targets: Sequence[str], score: Callable[[str], float]) -> float | None:
    """The best score of one and the same answer to every item, tried for the most frequent targets.

    Args:
        targets: the right answer of each item.
        score: the benchmark's value, in the table's unit, if every item were answered with the given text; this is
            the task's own scoring, so that F1 or MME's pairs count as they do for a model.
    """
    frequent = Counter(targets).most_common(TRIED)
    return max((score(answer) for answer, _ in frequent), default=None)


def most_frequent_share(targets: Sequence[str]) -> float:
    """The share of the most frequent target, 0..1: the majority score of an accuracy."""
    return max(Counter(targets).values()) / len(targets)
