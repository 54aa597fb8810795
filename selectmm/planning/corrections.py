"""What `selectmm bench` measured on a machine, by which a plan corrects its estimates."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selectmm.experiment import Experiment
from selectmm.planning.gpus import Gpu
from selectmm.planning.stages import Planned
from selectmm.planning.work import GRADIENTS
from selectmm.records.stage import fingerprint, write_atomically

FOLDER = "bench"
KINDS = {
    "warm-up": "tuning",
    "finetune": "tuning",
    "evaluate": "decoding",
    "features": "features",
    "scoring": "features",
}


@dataclass(frozen=True)
class Corrections:
    """Measured seconds of each kind of work as a multiple of their estimate; none if nothing was measured.

    Attributes:
        factors: by kind: ``tuning``, ``features``, ``gradients``, ``decoding``.
        source: a sentence for the page; empty without.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    source: str = ""

    @classmethod
    def of(cls, experiment: Experiment, gpu: Gpu) -> "Corrections":
        """Of this setting on that device, from the cache folder."""
        file = file_of(experiment, gpu.name)
        if not file.exists():
            return cls()
        kept = json.loads(file.read_text())
        told = ", ".join(f"{kind} × {factor:.2g}" for kind, factor in kept["factors"].items())
        return cls(
            kept["factors"], f"Seconds corrected by `selectmm bench` of {kept['date']} ({kept['device']}): {told}."
        )

    def factor(self, stage: Planned) -> float | None:
        """For a stage of a plan; what was measured of our own decoding says nothing of vLLM."""
        if stage.work.overhead:
            return None
        kind = KINDS.get(stage.name)
        if kind == "features" and any(one.__name__ in stage.what for one in GRADIENTS):
            kind = "gradients"
        return self.factors.get(kind) if kind else None


def file_of(experiment: Experiment, device: str) -> Path:
    """Where what is measured of an experiment's model and recipe on a kind of device is kept."""
    setting = {name: experiment.config[name] for name in ("model", "recipe", "compute")}
    plain = {"setting": setting | {"model": {k: v for k, v in setting["model"].items() if k != "cache"}}}
    return experiment.cache / FOLDER / f"{device}-{fingerprint(plain)}.json"


def keep(file: Path, content: Mapping[str, Any]) -> None:
    """Write what was measured."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
