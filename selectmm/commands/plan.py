"""Estimate time, memory and disk of a run, stage by stage, or of a sweep, job by job, without running it.

Options are those of a run: 'selectmm plan method=prism', 'selectmm plan -m experiments=prism/main --gpu h100
--devices 8'; 'selectmm --dry-run …' does the same. Neither model nor data have to be there.
"""

import argparse
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from selectmm.command_line.arguments import read_arguments
from selectmm.command_line.jobs import read_jobs
from selectmm.errors import UserError
from selectmm.flops.gpus import UTILISATION, gpu_of
from selectmm.instantiate import build
from selectmm.planning.known.models import MODELS
from selectmm.planning.known.pools import POOLS
from selectmm.planning.page import as_json, show
from selectmm.planning.plan import plan
from selectmm.screen import answer


def main(arguments: Sequence[str]) -> None:
    """Print the plan: of a run stage by stage, of a sweep a line for each job.

    Raises:
        UserError: of the choices, the pool (which may not say where its rows are) or the GPU's name.
    """
    asked = read_arguments(_parser(), arguments)
    if not 0 < asked.utilisation <= 1:
        raise UserError(f"--utilisation {asked.utilisation:g} is not a share; give a number above 0 and at most 1.")
    for name in ("devices", "nodes"):
        if (given := getattr(asked, name)) is not None and given < 1:
            raise UserError(f"--{name} {given} is not a number of {name}; give 1 or more.")
    if asked.sample < 1:
        raise UserError(f"--sample {asked.sample} is not a number of rows; give 1 or more.")
    gpu = gpu_of(asked.gpu)
    jobs = read_jobs(asked.choices, asked.multirun)
    for config, _ in jobs:
        place(config, asked.devices, asked.nodes)
        _check_rows(config)
    experiments = [build(config, method) for config, method in jobs]
    plans = plan(experiments, gpu, asked.sample)
    show(plans, gpu, asked.utilisation, asked.sample, asked.stages)
    answer(as_json(plans, gpu, asked.utilisation, asked.sample))


def place(config: DictConfig, devices: int | None, nodes: int | None) -> None:
    """Set on how many devices the run would be, and name a model that has no path by its choice: shapes suffice here.

    Args:
        devices: of each node. nodes: how many. None for what the configuration says.
    """
    if OmegaConf.is_missing(config.model, "path") and config.chosen.model in MODELS:
        config.model.path = config.chosen.model
    if devices is not None:
        config.devices = devices
    if nodes is not None:
        config.nodes = nodes


def _check_rows(config: DictConfig) -> None:
    """Whether the pool says where its rows are.

    Raises:
        UserError: it does not, so nobody knows how many there are.
    """
    unset = sorted(key for key in OmegaConf.missing_keys(config) if key.startswith("pool."))
    if unset:
        given = " ".join(f"{key}=…" for key in unset)
        published = ", ".join(f"pool={rows.name}" for rows in POOLS)
        raise UserError(
            f"Not set: {', '.join(unset)}; how many rows there are to select from is unknown without, so nothing can "
            f"be estimated: give {given}, or plan a pool whose counts are published ({published})."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("selectmm plan", description=__doc__)
    parser.add_argument("choices", nargs="*", help="group=name and key=value, as for a run; with -m several values")
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="plan all jobs of a sweep; a shared stage counts once"
    )
    parser.add_argument("--gpu", default="here", help="a100-80, h100, …, cpu, or here: what this machine has (default)")
    parser.add_argument("--devices", type=int, help="devices of one node (default: the run's option devices)")
    parser.add_argument("--nodes", type=int, help="number of nodes (default: the run's option nodes; auto is 1)")
    parser.add_argument(
        "--utilisation",
        type=float,
        default=UTILISATION,
        help="share of the device's peak that is reached (default: 0.4)",
    )
    parser.add_argument("--sample", type=int, default=256, help="rows that are encoded to count tokens (default: 256)")
    parser.add_argument("--stages", action="store_true", help="also list every stage of every job of a sweep")
    return parser
