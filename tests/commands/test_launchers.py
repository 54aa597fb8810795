"""The launcher preset for Slurm, against what submitit writes for sbatch."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from selectmm.command_line import CONFIGS, ROOT


def test_a_slurm_job_gets_a_gpu_processors_memory_time_and_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        choices = ["hydra/launcher=slurm", "hydra.launcher.partition=gpus"]
        launcher = OmegaConf.to_container(compose("run", choices, return_hydra_config=True).hydra.launcher)
    kept = {"timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "partition", "additional_parameters", "nodes"}
    asked = SlurmExecutor._convert_parameters({key: launcher[key] for key in kept})
    script = _make_sbatch_string(command="run", folder=str(tmp_path), **asked)
    for line in (
        "--partition=gpus", "--gpus-per-node=1", "--cpus-per-task=12", "--mem=96GB", "--time=1440", "--requeue",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
