"""Whether runs that should train at the same pace did: a sign that costs were measured beside other work."""

from collections.abc import Sequence

from selectmm.records.record import RunRecord
from selectmm.report.rows import Comparison

UNEVEN = 1.5  # times; in 14 of the 16 experiments in results/records, seeds of a row lie within 1.43 of one another


def uneven(comparison: Comparison) -> list[str]:
    """A warning about rows whose seeds took more than `UNEVEN` times as long a step as one another.

    Seeds of a row have one method, budget, recipe and model, so their micro-batches are alike; methods may choose
    longer or shorter rows, so rows are not held against one another.
    """
    told = []
    for row in comparison.rows:
        paces = paces_of([outcome.record for outcome in row.outcomes])
        if max(paces) > UNEVEN * min(paces) > 0:
            told.append(f"{row.label} at {100 * row.budget:.4g} % ({min(paces):.2f} to {max(paces):.2f} s)")
    if not told:
        return []
    return [
        f"Seconds per training step differ between seeds of a row by more than {UNEVEN} times, which a free machine "
        f"does not do, so costs here were measured beside other work; read them with care: {', '.join(told)}."
    ]


def paces_of(records: Sequence[RunRecord]) -> list[float]:
    """Wall seconds per optimiser step of each run's fine-tuning."""
    return [record.costs.finetune.seconds / record.recipe.steps for record in records]
