"""The launcher preset for Slurm, against what submitit writes for sbatch."""

import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from submitit import AutoExecutor

from selectmm.command_line import CONFIGS, ROOT


def test_a_slurm_job_gets_a_gpu_processors_memory_time_and_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    (tmp_path / "srun").touch(0o755)  # submitit looks for it before it writes anything
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        choices = ["hydra/launcher=slurm", "hydra.launcher.partition=gpus"]
        launcher = OmegaConf.to_container(compose("run", choices, return_hydra_config=True).hydra.launcher)
    kept = {"timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "partition", "additional_parameters", "nodes"}
    # As the plugin does: it prefixes what is Slurm's own, and submitit converts the names that all executors share.
    shared = {"timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "nodes"}
    executor = AutoExecutor(folder=tmp_path, cluster="slurm")
    executor.update_parameters(**{key if key in shared else f"slurm_{key}": launcher[key] for key in kept})
    script = executor._executor._make_submission_file_text("run", "0")
    for line in (
        "--partition=gpus", "--gpus-per-node=1", "--cpus-per-task=12", "--mem=96GB", "--time=1440", "--requeue",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
