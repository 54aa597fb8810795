"""Two sweeps' folders side by side: what was left alone, and what was killed again and again."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from experiments.chaos.watching import finished

OF_A_SWEEP = "image-sizes"  # a stage that every sweep makes for itself, under its own name
PASS = "pass.txt"  # names the pass that a feature rode on by a random word
TIMES = {
    "stage.json": {"cost", "finished"},
    "losses.jsonl": {"seconds", "tokens_per_second"},
}  # by file, what differs from run to run
COSTS = {"costs", "finished", "provenance"}  # the same of a record; and from which commit, which may be made meanwhile


@dataclass
class Comparison:
    """What was compared, and how much of it was not equal.

    Attributes:
        stages, files: of the undisturbed cache. weights, subsets, answers: how many of those files hold the adapters'
            weights, the chosen rows, and answers or scores of the evaluation. records: of runs.
        differ: what is not the same, or is not there; empty if all is well.
        half_written: files that nobody will finish.
    """

    stages: int = 0
    files: int = 0
    subsets: int = 0
    weights: int = 0
    answers: int = 0
    records: int = 0
    differ: list[str] = field(default_factory=list)
    half_written: list[str] = field(default_factory=list)


def compare(alone: Path, disturbed: Path) -> Comparison:
    """Hold the folder of a sweep that was killed (``cache``, ``records``) against that of one that was not."""
    found = Comparison()
    ours, theirs = (
        {name: path for name, path in finished(folder / "cache").items() if not name.startswith(f"{OF_A_SWEEP}/")}
        for folder in (alone, disturbed)
    )
    found.differ += [f"{name} is only in one cache" for name in sorted(ours.keys() ^ theirs.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        _compare_stage(name, ours[name], theirs[name], found)
    _compare_records(alone / "records", disturbed / "records", found)
    found.half_written = half_written(disturbed)
    return found


def _compare_stage(name: str, ours: Path, theirs: Path, found: Comparison) -> None:
    found.stages += 1
    inside = [{path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in (ours, theirs)]
    found.differ += [f"{name}/{file} is only in one cache" for file in sorted(inside[0] ^ inside[1])]
    for file in sorted(inside[0] & inside[1]):
        found.files += 1
        same = _content(ours / file) == _content(theirs / file)
        if not same and file.name != PASS:
            found.differ.append(f"{name}/{file}")
        stage = name.partition("/")[0]
        found.subsets += stage == "subset" and file.name == "subset.json"
        found.weights += stage == "adapter" and file.suffix == ".safetensors"
        found.answers += stage == "evaluation" and file.name != "stage.json"


def _content(file: Path) -> object:
    """What must be the same: a file's bytes, or, where it says how long something took, the rest of it."""
    if file.name not in TIMES:
        return file.read_bytes()
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    return [_without(json.loads(line), TIMES[file.name]) for line in lines]


def _without(entry: dict[str, object], keys: set[str]) -> dict[str, object]:
    return {key: value for key, value in entry.items() if key not in keys}


def _compare_records(ours: Path, theirs: Path, found: Comparison) -> None:
    """All but the costs: subset, coverage, scores, answers' checksum, configuration."""
    names = [{path.name for path in folder.glob("*.json")} for folder in (ours, theirs)]
    found.differ += [f"records/{name} is only in one folder" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        found.records += 1
        entries = [_without(json.loads((folder / name).read_text()), COSTS) for folder in (ours, theirs)]
        parts = sorted(entries[0].keys() | entries[1].keys())
        found.differ += [f"records/{name}: {key}" for key in parts if entries[0].get(key) != entries[1].get(key)]


def half_written(folder: Path) -> list[str]:
    """Files and folders under a sweep's folder that are written beside their place and never got there."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if _is_half(path))


def _is_half(path: Path) -> bool:
    return path.suffix == ".partial" or (path.name.startswith(".") and path.name != ".hydra")
