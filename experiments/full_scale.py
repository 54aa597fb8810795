"""How long each stage takes in each paper's setting, as `selectmm plan` estimates: the table of full_scale.md.

python experiments/full_scale.py
"""

import os
import sys
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments.cells import UNKNOWN, table
from selectmm.cache.stage import write_atomically
from selectmm.command_line.jobs import read_jobs
from selectmm.command_line.reading import CONFIGS, ROOT
from selectmm.commands.plan import place
from selectmm.errors import UserError
from selectmm.flops.gpus import GPUS, UTILISATION
from selectmm.instantiate import build
from selectmm.planning.page import hours
from selectmm.planning.plan import plan
from selectmm.planning.stages import total_of

PAGE = ROOT / "experiments" / "full_scale.md"
BEGIN, END = "<!-- hours:begin -->\n", "<!-- hours:end -->\n"
GPU, DEVICES, BUDGET = GPUS["h100"], 8, 0.2
SAMPLE = 256  # rows that are encoded where a pool is here; a published pool that is not is taken as it was published
HEAD = ["setting", "PRISM's pass", "training on 20 %", "training on all rows", "evaluation", "with `engine=vllm`"]


def row(setting: str) -> list[str]:
    """A setting's hours on the devices: of one selection by PRISM, of trainings, of one evaluation."""
    try:
        jobs = read_jobs([f"setting={setting}", "method=full,prism", f"budget={BUDGET}", "tracker=none"], True)
        for config, _ in jobs:
            place(config, DEVICES, 1)
        full, prism = plan([build(config, method) for config, method in jobs], GPU, SAMPLE)
    except UserError:  # its pool is one that you make
        return [f"`{setting}`", *[UNKNOWN] * (len(HEAD) - 1)]
    # Evaluation takes the same for both.
    whole, part = (total_of([one], GPU, UTILISATION) for one in (full, prism))
    times = [part.features, part.tuning, whole.tuning, part.evaluation, part.by_engine]
    return [f"`{setting}`", *(UNKNOWN if time is None else hours(time) for time in times)]


def settings() -> list[str]:
    """All but the built-in one."""
    return sorted(path.stem for path in (CONFIGS / "setting").glob("*.yaml") if path.stem != "embedded")


def main() -> None:
    """Write the table into the page."""
    os.environ["SELECTMM_ROOT"] = str(ROOT)
    before, rest = PAGE.read_text().split(BEGIN)
    made = table(HEAD, [row(setting) for setting in settings()])
    write_atomically(PAGE, f"{before}{BEGIN}{made}{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
