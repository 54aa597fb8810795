"""Released scores, and how far from them a correct evaluator may be: read from files, never typed into code."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selectmm.cache.reading import Mismatch, read
from selectmm.errors import UserError
from selectmm.paths import ROOT
from selectmm.report.references import load_references

HERE = Path(__file__).parent
ZOO = ROOT / "results" / "published" / "scores.csv"


@dataclass(frozen=True)
class Band:
    """One released benchmark; see released.yaml for the fields."""

    released: str
    of: tuple[str, ...]
    tasks: tuple[str, ...]
    split: str
    drift: float
    why: str


@dataclass(frozen=True)
class Released:
    """A checkpoint's released scores, by released name, with their bands.

    Attributes:
        name: what the checkpoint is called where they were released.
        source: the file that they stand in.
        manifest: how they were measured, by benchmark, as `read_manifest` tells it; empty if that is not known.
    """

    name: str
    source: str
    scores: Mapping[str, float]
    bands: tuple[Band, ...]
    manifest: Mapping[str, Mapping[str, Any]]


def released_as(name: str) -> Released:
    """The scores of a row of the LLaVA-1.5 model zoo.

    Raises:
        UserError: there is no such row.
    """
    with ZOO.open(newline="") as stream:
        cells = [cell for cell in csv.DictReader(stream) if cell["table"] == "model zoo"]
    names = list(dict.fromkeys(cell["method"] for cell in cells))
    if name not in names:
        raise UserError(f"No scores were released as '{name}'; there are: {', '.join(names)}.")
    scores = {cell["benchmark"]: float(cell["value"]) for cell in cells if cell["method"] == name}
    return Released(name, ZOO.relative_to(ROOT).as_posix(), scores, _bands(), {})


def released_for(path: str | None, identity: str, references: Path | None) -> Released:
    """The released scores of a checkpoint, by its hub id; or those recorded by ``selectmm references``, by its weights.

    Args:
        path: ``model.path``; None if the model has none (the embedded one).
        identity: of the model's weights (`VLM.identity`).
        references: file of the suite's reference scores, of whatever model; None: there is none.

    Raises:
        UserError: neither is known for this checkpoint.
    """
    checkpoints = _content()["checkpoints"]
    hub = (path or "").split("@")[0]
    if hub in checkpoints:
        return released_as(checkpoints[hub])
    beside = references and references.with_suffix(".record.json")
    if references and beside and references.exists() and beside.exists():
        record = json.loads(beside.read_text())
        if record["model"] == identity:
            return _recorded(references, record["suite"], identity)
    known = [*checkpoints, *([f"the model of {references}"] if references else [])]
    raise UserError(
        f"No released scores are known for {path or 'this model'} (weights {identity}); known are: "
        f"{', '.join(known[:-1])}, and {known[-1]}. For a copy of one of the model zoo's checkpoints "
        f"say which: --released 'llava-1.5-7b lora'."
    )


def _recorded(references: Path, manifest: Mapping[str, Mapping[str, Any]], identity: str) -> Released:
    """The base's own scores, measured before on the same items by the same code."""
    scores = {name: entry.base for name, entry in load_references(references).items() if entry.base is not None}
    why = "the same weights, items and code: only ties that another processor rounds otherwise may flip"
    bands = [Band(name, (name,), (str(manifest[name]["task"]),), "recorded", 0.0, why) for name in scores]
    return Released(f"weights {identity}", str(references), scores, tuple(bands), manifest)


def _bands() -> tuple[Band, ...]:
    return tuple(_band(entry) for entry in _content()["benchmarks"])


def _band(entry: Mapping[str, Any]) -> Band:
    try:
        return read(Band, entry)
    except Mismatch as problem:
        raise UserError(f"{HERE / 'released.yaml'}: {problem}; correct the file.") from problem


def _content() -> Mapping[str, Any]:
    return yaml.safe_load((HERE / "released.yaml").read_text())
