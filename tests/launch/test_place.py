"""Where a process stands, by the variables that schedulers set, and by options alone."""

import os
from dataclasses import replace

import pytest

from selectmm.errors import UserError
from selectmm.launch.place import Place, Started, forget_ranks, place_of, read_started

# As each sets them (srun: 22.05 on two nodes of one machine; torchrun: 2.13; Kubernetes: a PyTorchJob of Kubeflow).
SRUN = {
    "SLURM_JOB_ID": "12", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "gpu[7-8]", "SLURM_NODEID": "1",
    "SLURM_LOCALID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "2",
}  # fmt: skip
BATCH = {"SLURM_JOB_ID": "12", "SLURM_NNODES": "2", "SLURM_NODEID": "0", "SLURM_LOCALID": "0", "SLURM_PROCID": "0"}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "RANK": "11", "WORLD_SIZE": "16",
    "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8", "MASTER_ADDR": "gpu7", "MASTER_PORT": "29500",
}  # fmt: skip
POD = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456"}
PET = {"PET_NNODES": "3", "PET_NODE_RANK": "2", "PET_MASTER_ADDR": "job-0", "PET_MASTER_PORT": "29400"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (SRUN, Started("srun", 1, 2, 0, "gpu7", 20_012)),
        ({**SRUN, "SLURM_STEP_NODELIST": "a1,b[2-3]"}, Started("srun", 1, 2, 0, "a1", 20_012)),
        ({**SRUN, "SLURM_STEP_NODELIST": "a[03,7]"}, Started("srun", 1, 2, 0, "a03", 20_012)),
        ({**SRUN, "SLURM_STEP_NODELIST": "rack[1-2]n[3-4,9]x,b"}, Started("srun", 1, 2, 0, "rack1n3x", 20_012)),
        (BATCH, None),  # srun has not started it: it is alone, whatever the job has
        (TORCHRUN, Started("torchrun", 1, 2, 3, "gpu7", 29501)),
        ({**SRUN, **TORCHRUN}, Started("torchrun", 1, 2, 3, "gpu7", 29501)),
        (POD, Started("the scheduler", 1, 4, 0, "job-master-0", 23456)),
        (PET, Started("Kubernetes", 2, 3, 0, "job-0", 29400)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, None),
        ({}, None),
    ],
    ids=["srun", "names", "numbers", "racks", "batch", "torchrun", "torchrun-srun", "pod", "pet", "half", "nothing"],
)
def test_what_schedulers_say(environment: dict[str, str], expected: Started | None) -> None:
    assert read_started(environment) == expected


def test_a_variable_that_is_no_number() -> None:
    with pytest.raises(UserError, match=r"^The environment variable RANK=first is not a number; unset it\.$"):
        read_started({**POD, "RANK": "first"})


def test_libraries_do_not_see_what_a_scheduler_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SRUN, **TORCHRUN, **POD, **PET}.items():
        monkeypatch.setenv(name, value)
    forget_ranks()
    left = {name for name in {**SRUN, **TORCHRUN, **POD, **PET} if name in os.environ}
    assert left == SRUN.keys()


S = Started("srun", 1, 2, 0, "gpu7", 20_012)
T = replace(S, by="torchrun")


def test_places_from_options_and_schedulers() -> None:
    assert place_of({}, None) == place_of({"nodes": 1}, None) == place_of({"nodes": 1, "node": 0}, None) == Place()
    assert place_of({"nodes": "auto", "join_seconds": 5}, S) == Place(2, 1, host="gpu7", port=20_012, seconds=5)
    assert place_of({"rendezvous": "other:80"}, S) == Place(2, 1, host="other", port=80)
    assert place_of({"nodes": 3, "node": 2, "rendezvous": "::1:80"}, None) == Place(3, 2, host="::1", port=80)
    assert place_of({}, Started("torchrun", 0, 1, 3, "gpu7", 1)) == Place(idle=True), "one process a node works"
    assert place_of({"nodes": 1}, Started("srun", 0, 1, 3, "gpu7", 1)) == Place(idle=True), (
        "also where that is asked for"
    )


@pytest.mark.parametrize(
    ("options", "started", "message"),
    [
        (
            {"nodes": 2},
            None,
            r"^nodes=2: which of them is this one\? Start the command with srun or torchrun on all of",
        ),
        (
            {"nodes": 3},
            T,
            r"^nodes=3, but torchrun started this command on 2; leave nodes out, or start it on as many\.$",
        ),
        (
            {"nodes": 1},
            S,
            r"^nodes=1, but srun started this command on 2; leave nodes out, or start it on as many, or unset "
            r"SLURM_STEP_NUM_NODES if you typed it in a shell that srun opened\.$",
        ),
        ({"node": 1}, None, r"^node=1, but nodes=auto; set nodes to the number of nodes\.$"),
        ({"nodes": 1, "node": 1}, None, r"^node=1, but nodes=1; set nodes to the number of nodes\.$"),
        ({"nodes": 2, "node": 2}, None, r"^node=2, but nodes=2: nodes are numbered from 0 to 1\.$"),
        (
            {"nodes": 2, "node": 0},
            None,
            r"^Several nodes need an address at which they connect; set on all of them rendezvous=HOST:PORT",
        ),
        ({"nodes": "many"}, None, r"^nodes=many is neither a whole number from 1 on nor auto\.$"),
        ({"nodes": 0}, None, r"^nodes=0 is neither a whole number from 1 on nor auto\.$"),
        ({"rendezvous": "gpu1"}, S, r"^rendezvous=gpu1 is not HOST:PORT, such as gpu1:29400\.$"),
        ({"rendezvous": "gpu1:99999"}, S, r"^rendezvous=gpu1:99999 is not HOST:PORT"),
        ({"join_seconds": 0}, S, r"^join_seconds=0 is not a number of seconds above 0\.$"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, object], started: Started | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        place_of(options, started)
