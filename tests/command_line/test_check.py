"""What is wrong with a run or a sweep is found before anything runs."""

import pytest

from selectmm.cache.provenance import SWEEP_NAME
from selectmm.command_line import check
from selectmm.errors import UserError
from selectmm.paths import ROOT


def test_a_sweep_with_ligers_kernels_and_without_is_refused_where_jobs_share_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Accepted(Exception):
        """The sweep begins."""

    def begin(*_: object, **__: object) -> None:
        raise Accepted

    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.setenv(SWEEP_NAME, "")  # which the command then sets
    monkeypatch.setattr(check, "warn_of_failures", begin)
    swept = ["-m", "model=llava15_7b", "model.device=cpu"]
    for launcher in ([], ["hydra/launcher=joblib"]):
        with pytest.raises(UserError, match=r"compute=liger and without it cannot share a process, .* sweep for each"):
            check.check([*swept, "compute=plain,liger", *launcher])
    for accepted in (["compute=plain,liger", "hydra/launcher=submitit_local"], ["compute=liger", "seed=0,1"]):
        with pytest.raises(Accepted):
            check.check([*swept, *accepted])


@pytest.mark.parametrize(
    ("launcher", "said"),
    [([], "Starting 2 jobs, one after the other."), (["hydra/launcher=joblib"], "with hydra/launcher=joblib.")],
)
def test_a_sweep_says_what_it_does_before_its_first_job_starts(
    launcher: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.setenv(SWEEP_NAME, "")  # which the command then sets
    monkeypatch.setattr(check, "warn_of_failures", lambda jobs, here: print("(checked)"))
    monkeypatch.setattr("selectmm.stages.sweep.log_jobs", lambda jobs: None)
    check.check(["-m", "method=random,length", "model.device=cpu", *launcher])
    checking, checked, starting = capsys.readouterr().out.splitlines()
    assert checking.startswith("Checking 2 jobs; what is not in the cache yet is read or made now: ")
    assert checked == "(checked)" and starting.endswith(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["hydra/launcher=joblib"],
            "hydra/launcher=joblib starts the jobs of a sweep; use 'selectmm sweep' (or -m), or",
        ),
        (["hydra/launcher=slurm"], "hydra/launcher=slurm starts the jobs of a sweep; use 'selectmm sweep' (or -m), or"),
        (
            ["-m", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"],
            "hydra.launcher.n_jobs=0 starts no job; give 1 or more, or -1 for all cores.",
        ),
        (["-m", "seed=x"], "seed=x is not a whole number, such as 0 or 1."),
    ],
)
def test_what_a_launcher_cannot_do_and_what_no_job_can_is_told_first(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.delenv(SWEEP_NAME, raising=False)
    with pytest.raises(UserError) as problem:
        check.check(words)
    monkeypatch.delenv(SWEEP_NAME, raising=False)
    assert str(problem.value).startswith(said)
