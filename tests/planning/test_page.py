"""What a plan's page says first, and what is shown while it is made."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from selectmm.experiment import Experiment
from selectmm.flops.gpus import GPUS, Gpu
from selectmm.planning import plan as planning
from selectmm.planning.memory import Memory
from selectmm.planning.page import show
from selectmm.planning.stages import Plan, Planned
from selectmm.planning.work import Work

H100 = GPUS["h100"]
HERE = replace(H100, name="cpu", memory=24 * 2**30)


def job(*gib: float) -> Plan:
    """A job of which each stage takes so much memory."""
    works = [Work(memory=Memory(weights=each * 2**30)) for each in gib]
    return Plan("run: a", [Planned("finetune", "", [], "to do", 1, work) for work in works], [])


@pytest.mark.parametrize(
    ("plans", "gpu", "said"),
    [
        (
            [job(5, 90), job(40)],
            HERE,
            "No job fits into the 24 GiB of this machine; name the device that you plan for, such as --gpu h100.",
        ),
        (
            [job(90)],
            H100,
            "This run does not fit into the 80 GiB of h100; name a larger device with --gpu, or more of them with "
            "--devices and strategy=zero3.",
        ),
    ],
)
def test_where_nothing_fits_that_and_the_way_out_stand_first(
    plans: Sequence[Plan], gpu: Gpu, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show(plans, gpu, 0.4, 256)
    assert capsys.readouterr().out.startswith(f"{said}\n")


@pytest.mark.parametrize("plans", [[job(5), job(90)], [Plan("run: a", [], [])]], ids=["one fits", "nothing is known"])
def test_where_a_job_fits_or_nothing_is_known_the_table_stands_first(
    plans: Sequence[Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    show(plans, HERE, 0.4, 256)
    assert "GiB of this machine;" not in capsys.readouterr().out


@pytest.mark.parametrize(("jobs", "shown"), [(3, True), (1, False)])
def test_a_terminal_shows_how_many_jobs_of_a_sweep_are_planned(
    jobs: int, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(planning, "_planned", lambda *_: job(1))
    monkeypatch.setattr(planning, "union_of", lambda _: {})
    monkeypatch.setattr(planning, "place_of", lambda _: "")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    planning.plan(cast(list[Experiment], [None] * jobs), H100, 1)
    assert (f"{jobs}/{jobs}" in capsys.readouterr().out) is shown
