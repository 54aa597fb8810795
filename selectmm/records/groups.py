"""Which records may stand in one table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selectmm.records.record import RunRecord

# What two recipes of one family may differ in: how long to train, in epochs or in steps, is one of the questions.
LENGTHS = ("length", "epochs")
LENGTH_ONLY = {"name", *LENGTHS}
TARGETS = "target examples"
NAMED = 5  # differences that a caption names


def recipe_of(record: RunRecord) -> tuple[object, ...]:
    """Name and length of a record's recipe: a value typed in a command changes how long it trains under one name."""
    values = [record.recipe.options.get(name) for name in LENGTHS]
    # A record from elsewhere may hold anything there, and what this gives is looked up.
    return record.recipe.name, *(str(value) if isinstance(value, list | dict) else value for value in values)


@dataclass(frozen=True)
class Group:
    """Records that can be compared, and why they stand apart from the others (empty if there are no others)."""

    records: tuple[RunRecord, ...]
    apart: str

    @property
    def conditions(self) -> dict[str, Any]:
        """What its records agree in, by name; see `conditions`."""
        return _conditions_of(self.records)


def comparable(records: Sequence[RunRecord]) -> list[Group]:
    """Split records so that scale, pool, base model, suite, evaluator, recipe and strategy agree inside each group.

    Recipes agree if they differ in nothing but how long they train (`LENGTH_ONLY`). Groups keep the order in which
    they first appear. Methods that choose for other target examples stand apart, and what was chosen for none stands in
    the group of each.
    """
    alike: dict[str, list[RunRecord]] = {}
    for record in records:
        same = {name: value for name, value in conditions(record).items() if name != TARGETS}
        alike.setdefault(json.dumps(same, sort_keys=True), []).append(record)
    groups = [group for together in alike.values() for group in _by_targets(together)]
    every = [_conditions_of(group) for group in groups]
    return [Group(tuple(group), _apart(mine, every)) for group, mine in zip(groups, every, strict=True)]


def _by_targets(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """One group for each set of target examples, with the records that have none; one of all if there is one set."""
    targets = list(dict.fromkeys(record.targets for record in records if record.targets is not None))
    if len(targets) < 2:
        return [list(records)]
    return [[record for record in records if record.targets in (None, one)] for one in targets]


def _conditions_of(group: Sequence[RunRecord]) -> dict[str, Any]:
    """Of a group's records, the first that was chosen for target examples before the others."""
    return conditions(next((record for record in group if record.targets is not None), group[0]))


def conditions(record: RunRecord) -> dict[str, Any]:
    """Everything that must agree inside a table, by name; target examples only where rows were chosen for some."""
    return {
        "scale": record.scale,
        "pool": record.pool.fingerprint,
        "base model": record.model,
        "suite": record.suite.name,
        "benchmarks": ", ".join(sorted(record.suite.evaluator)),
        **_flat("evaluator", record.suite.asked()),
        **_flat("recipe", {k: v for k, v in record.recipe.options.items() if k not in LENGTH_ONLY}),
        **_flat("strategy", {**record.recipe.strategy, "devices": 1}),  # as in `RunRecord.name`; `report.pace` says it
        **({} if record.targets is None else {TARGETS: record.targets}),
    }


def _flat(name: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as dotted names, so that a caption can name the one entry that differs."""
    flat: dict[str, Any] = {}
    for key, value in entries.items():
        flat |= _flat(f"{name}.{key}", value) if isinstance(value, Mapping) else {f"{name}.{key}": value}
    return flat


def _apart(mine: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> str:
    names = dict.fromkeys(name for conditions in every for name in conditions)
    differing = [name for name in names if any(other.get(name) != mine.get(name) for other in every)]
    differing = [name for name in differing if not _of_one_side(name, every)]
    if not differing:
        return ""
    here = ", ".join(f"{name} (here {_here(name, mine.get(name))})" for name in differing[:NAMED])
    if len(differing) > NAMED:
        here += f" and {len(differing) - NAMED} more"
    return f"These records form {len(every)} tables that must not be compared with each other; they differ in {here}."


def _of_one_side(name: str, every: Sequence[Mapping[str, Any]]) -> bool:
    """Whether it is about a benchmark that others did not run at all, which the list of benchmarks says already."""
    if not name.startswith("evaluator."):
        return False
    run = [str(conditions["benchmarks"]).split(", ") for conditions in every]
    return not all(any(f"{name}.".startswith(f"evaluator.{one}.") for one in names) for names in run)


def _here(name: str, value: object) -> str:
    names = str(value).split(", ") if name == "benchmarks" else []
    return f"{len(names)} of them" if len(names) > NAMED else _cell(value)


def _cell(value: object) -> str:
    """A value as a caption shows it: at most 40 characters."""
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
