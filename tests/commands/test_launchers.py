"""The launcher presets: Slurm's against what submitit writes for sbatch, Ray's; what jobs side by side cannot do."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from submitit import AutoExecutor

from selectmm.cache.provenance import COMMAND, SWEEP_NAME
from selectmm.command_line.check import _check_launcher, _check_slurm, check
from selectmm.command_line.offered import OWN
from selectmm.command_line.reading import CONFIGS, ROOT
from selectmm.errors import UserError
from selectmm.screen import LEVEL, MESSAGES
from selectmm.stages.sweep import SWEEP


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


def test_slurm_is_refused_before_a_sweep_where_there_is_no_srun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("slurm", "submitit_slurm"):
        sweep = ["-m", "method=random,full", f"hydra/launcher={name}", "hydra.launcher.partition=gpu"]
        said = rf"^hydra/launcher={name}: there is no srun here; start this on a login node of the cluster, or use hyd"
        for words in (sweep, [word.removesuffix(",full") for word in sweep]):
            with pytest.raises(UserError, match=said):
                check(words)
    _check_slurm({"submitit_local", "joblib", "basic"})
    (tmp_path / "srun").touch(0o755)
    _check_slurm({"slurm"})


def test_a_ray_job_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        launcher = compose("run", ["hydra/launcher=ray"], return_hydra_config=True).hydra.launcher
    assert launcher.ray.remote.num_gpus == 1
    launcher.ray.init.setdefault("object_store_memory", 78643200)  # as the launcher does
    assert launcher.ray.init.object_store_memory is None, "a cluster that runs already refuses any number"
    if find_spec("hydra_plugins.hydra_ray_launcher") is None:
        with pytest.raises(
            UserError, match=r"^hydra/launcher=ray needs hydra-ray-launcher; install the extra: pip ins"
        ):
            _check_launcher({"ray"}, ["hydra/launcher=ray"], {"1"})


def environment_of(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, str]:
    """What the preset has Ray set for its jobs, with these variables set when a sweep starts."""
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    for name in (OWN, COMMAND, SWEEP, SWEEP_NAME, LEVEL, MESSAGES):
        monkeypatch.delenv(name, raising=False)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        launcher = compose("run", ["hydra/launcher=ray"], return_hydra_config=True).hydra.launcher
    for name, value in environment.items():  # after the configuration was read, as in a sweep
        monkeypatch.setenv(name, value)
    return OmegaConf.to_container(launcher.ray.init, resolve=True)["runtime_env"]["env_vars"]


def test_a_ray_job_is_told_what_other_jobs_are_told_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that runs already starts its workers with variables of its own."""
    given = {name: f'{{"{name}": ["a, b", \'c\']}}' for name in (OWN, COMMAND, SWEEP, SWEEP_NAME, LEVEL, MESSAGES)}
    assert environment_of(monkeypatch, **given) == {"SELECTMM_ROOT": str(ROOT), **given}
    unset = environment_of(monkeypatch)
    assert unset[SWEEP] == "" and set(unset) == {"SELECTMM_ROOT", *given}


def test_jobs_side_by_side_are_on_one_node_and_have_gpus_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with pytest.raises(
        UserError, match=r"^hydra/launcher=joblib runs jobs side by side, each on one node; leave it out"
    ):
        _check_launcher({"joblib"}, [*joblib, "nodes=2"], {"auto"})
    with pytest.raises(UserError, match=r"^4 jobs at a time with 1 GPU each, but there are 3; set hydra\.launcher\.n_"):
        _check_launcher({"joblib"}, joblib, {"auto"})
    with pytest.raises(UserError, match=r"^devices=1,2 with hydra/launcher=joblib: .*; start a sweep for each number"):
        _check_launcher({"joblib"}, ["hydra.launcher.n_jobs=1"], {"auto", "2"})
    _check_launcher({"joblib"}, [*joblib, "model.device=cpu"], {"1", "2"})
    _check_launcher({"basic"}, ["nodes=2"], {"auto"})


@pytest.mark.parametrize(
    "page", ["configs/hydra/launcher/slurm.yaml", "experiments/cluster/README.md", "selectmm/commands/README.md"]
)
def test_eight_gpus_come_with_the_processors_and_the_memory_of_eight(page: str) -> None:
    """Slurm counts both by job, not by GPU."""
    _, *found = (ROOT / page).read_text().split("hydra.launcher.gpus_per_node=8")
    assert found
    for text in found:
        words = " ".join(text[:100].split())
        assert words.startswith("devices=8 hydra.launcher.cpus_per_task=96 hydra.launcher.mem_gb=256")
