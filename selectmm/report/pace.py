"""Whether runs that should train at the same pace did: a sign that costs were measured beside other work."""

from collections.abc import Sequence

from selectmm.records.record import RunRecord
from selectmm.report.rows import Comparison, Row

UNEVEN = 1.5  # times; in 14 of the 16 experiments in results/records, seeds of a row lie within 1.43 of one another


def uneven(comparison: Comparison) -> list[str]:
    """Warnings that costs were measured beside other work or on more devices, so that they compare less than they seem
    to."""
    return [*_devices(comparison), *_seeds(comparison), *_rows(comparison)]


def _devices(comparison: Comparison) -> list[str]:
    """Of runs that one table holds although some had more devices, which changes their results by rounding alone."""
    numbers = devices_of(comparison.records)
    if len(numbers) < 2:
        return []
    return [
        f"Trained on {' or '.join(numbers)} devices, which changes results by rounding alone; seconds × devices grow "
        f"with the devices that wait for one another, so read costs with care."
    ]


def _seeds(comparison: Comparison) -> list[str]:
    """Of rows whose seeds took more than `UNEVEN` times as long a step as one another.

    Seeds of a row have one method, budget, recipe and model, so their micro-batches are alike; but of those that had
    other numbers of devices nothing is said.
    """
    listed = []
    for row in comparison.rows:
        records = [outcome.record for outcome in row.outcomes]
        paces = paces_of(records)
        if len(devices_of(records)) == 1 and max(paces) > UNEVEN * min(paces) > 0:
            listed.append(f"{row.label} at {100 * row.budget:.4g} % ({min(paces):.2f} to {max(paces):.2f} s)")
    if not listed:
        return []
    return [
        f"Seconds per training step differ between seeds of a row by more than {UNEVEN} times, which a free machine "
        f"does not do, so costs here were measured beside other work; read them with care: {', '.join(listed)}."
    ]


def _rows(comparison: Comparison) -> list[str]:
    """Of rows that trained at different speeds, in operations a second: methods may choose longer or shorter rows, so
    their steps are not alike, but a machine computes as fast for one as for the other."""
    speeds = {f"{row.label} at {100 * row.budget:.4g} %": speed for row in comparison.rows if (speed := _speed(row))}
    if not speeds or max(speeds.values()) <= UNEVEN * min(speeds.values()):
        return []
    slow, fast = min(speeds, key=speeds.__getitem__), max(speeds, key=speeds.__getitem__)
    return [
        f"Training was more than {UNEVEN} times as fast for some rows as for others, in operations a second (from "
        f"{speeds[slow] / 1e9:,.0f} billion for {slow} to {speeds[fast] / 1e9:,.0f} billion for {fast}): beside "
        f"other work, on different machines, or with work that does not count as training; do not compare their costs."
    ]


def _speed(row: Row) -> float | None:
    """Operations of training a device-second, all seeds together; None where nobody counted them."""
    costs = [outcome.record.costs.finetune for outcome in row.outcomes]
    counted = [(cost.flops, cost.device_seconds) for cost in costs if cost.flops and cost.device_seconds]
    return sum(flops for flops, _ in counted) / sum(seconds for _, seconds in counted) if counted else None


def devices_of(records: Sequence[RunRecord]) -> list[str]:
    """The numbers of devices that runs were trained on, each once."""
    return list(dict.fromkeys(str(record.recipe.strategy.get("devices", 1)) for record in records))


def paces_of(records: Sequence[RunRecord]) -> list[float]:
    """Wall seconds per optimiser step of each run's fine-tuning."""
    return [record.costs.finetune.seconds / record.recipe.steps for record in records]
