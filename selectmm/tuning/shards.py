"""ZeRO-2's optimiser state, written by some number of ranks and taken up by another.

DeepSpeed itself refuses that. Every rank's file holds a run of each parameter group laid out flat, the float32 master
weights and AdamW's two moments, and says which part of which parameter lies where.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

MASTER = "master"  # beside the names of AdamW's moments
Parts = Mapping[str, Mapping[str, Sequence[torch.Tensor]]]


def files_of(state: Path) -> list[Path]:
    """Each rank's file of a ZeRO-2 checkpoint, in the order of the ranks."""
    found = {
        int(re.search(r"_rank_(\d+)_mp_", file.name)[1]): file for file in state.glob("*zero_pp_rank_*_optim_states.pt")
    }
    return [found[rank] for rank in sorted(found)]


def parts_of(files: Sequence[Path]) -> tuple[Parts, object]:
    """The pieces of `MASTER` and of the moments of each parameter, by name, flat and in order; and AdamW's step.

    The files are mapped into memory, not read.
    """
    parts: dict[str, dict[str, list[torch.Tensor]]] = defaultdict(lambda: defaultdict(list))
    step: object = None
    for file in files:
        state = torch.load(str(file), weights_only=True, map_location="cpu", mmap=True)["optimizer_state_dict"]
        for group, places in enumerate(state["param_slice_mappings"]):
            moments = dict(state["base_optimizer_state"]["state"][group])
            step = moments.pop("step")
            flat = {MASTER: state["single_partition_of_fp32_groups"][group], **moments}
            for name, at in places.items():
                for key, values in flat.items():
                    parts[name][key].append(values[at.start : at.start + at.numel])
    return parts, step


def take_up(engine: "DeepSpeedEngine", named: Mapping[str, torch.nn.Parameter], files: Sequence[Path]) -> None:
    """Give a fresh ZeRO-2 engine the state in ``files``, each rank its part of it; every rank calls it.

    Args:
        named: the trained parameters by their names in the engine's module.
    """
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state  # slow to import

    parts, step = parts_of(files)
    optimizer = engine.optimizer
    moments = next(iter(parts.values())).keys() - {MASTER}
    for flat in optimizer.single_partition_of_fp32_groups:
        empty = {key: torch.zeros_like(flat) for key in moments}
        optimizer.optimizer.state[flat] = {"step": step.clone() if isinstance(step, torch.Tensor) else step, **empty}
    optimizer._lazy_init_hp_params_optimizer_state()  # as after a first step: parameters learn where their moments are
    for name, weight in named.items():
        safe_set_full_fp32_param(weight, torch.cat(list(parts[name][MASTER])))
        for key in moments:
            safe_set_full_optimizer_state(weight, torch.cat(list(parts[name][key])), key)
    optimizer.update_lp_params()
