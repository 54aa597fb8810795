"""A sweep with one full run for several seeds of the other methods."""

import pytest
from omegaconf import DictConfig, OmegaConf

from selectmm.command_line.jobs import read_jobs
from selectmm.errors import UserError
from selectmm.paths import ROOT
from selectmm.stages.full_seeds import left_out


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Hydra looks for experiments, as the command line sets it."""
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))


def test_a_sweep_runs_full_for_the_named_seeds_only() -> None:
    jobs = read_jobs(["method=full,random", "seed=3,4,5", "full_seeds=[4]"], multirun=True)
    assert [(method, config.seed) for config, method in jobs] == [
        ("full", 4),
        ("random", 3),
        ("random", 4),
        ("random", 5),
    ]
    assert len(read_jobs(["method=full,random", "seed=3,4,5"], multirun=True)) == 6


def test_a_single_full_run_is_never_left_out() -> None:
    [(config, method)] = read_jobs(["method=full", "seed=3", "full_seeds=[4]"], multirun=False)
    assert (method, config.seed) == ("full", 3)


def test_a_sweep_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"^full_seeds=\[9\] leaves no job: only full runs of other seeds were asked "):
        read_jobs(["method=full", "seed=3,4", "full_seeds=[9]"], multirun=True)


@pytest.mark.parametrize("seeds", [3, "0,1", [], ["first"], [True], [0.5]])
def test_what_is_no_list_of_seeds_is_refused(seeds: object) -> None:
    config = OmegaConf.create({"seed": 3, "full_seeds": seeds})
    assert isinstance(config, DictConfig)
    with pytest.raises(UserError, match=r"should be a list of seeds, such as \[0\], or null for all\."):
        left_out(config, "full")
