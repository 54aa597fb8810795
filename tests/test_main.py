"""A job that is told to end."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from joblib.externals.loky import get_reusable_executor
from omegaconf import OmegaConf

from selectmm import __main__
from selectmm.errors import UserError
from selectmm.paths import ROOT
from tests.forked import command
from tests.tiny import write_pool

TOLD = """
import os, signal
from selectmm.__main__ import end_in_order
{before}
end_in_order()
try:
    os.kill(os.getpid(), signal.{number})
finally:
    print("unwound")
"""


@pytest.mark.parametrize(
    ("number", "before", "status"),
    [
        ("SIGTERM", "signal.signal(signal.SIGTERM, signal.SIG_DFL)", 143),
        ("SIGTERM", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", 0),
        ("SIGHUP", "signal.signal(signal.SIGHUP, signal.SIG_DFL)", 129),
        ("SIGHUP", "signal.signal(signal.SIGHUP, signal.SIG_IGN)", 0),
    ],
    ids=["nobody's", "a launcher's", "a terminal that closes", "nohup"],
)
def test_a_terminated_job_unwinds_unless_its_launcher_has_another_way(number: str, before: str, status: int) -> None:
    code = TOLD.format(number=number, before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "unwound\n"), done.stderr


def test_pytorch_prints_no_frames_of_cpp_above_the_sentence_on_a_lost_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def main() -> None:
        __main__._answer = lambda _: print(os.environ["TORCH_CPP_LOG_LEVEL"])
        __main__.main()

    for before, level in (("", "ERROR"), ("INFO", "INFO")):
        monkeypatch.delenv("TORCH_CPP_LOG_LEVEL", raising=False)
        if before:
            monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", before)
        assert command([], tmp_path, main).stdout == f"{level}\n"


@pytest.mark.parametrize("launcher", ["submitit_launcher.LocalLauncher", "joblib_launcher.JoblibLauncher"])
def test_jobs_that_share_this_machines_gpus_each_take_their_own(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """hydra.launcher.gpus_per_node=1 shows every job of submitit_local the first GPU."""
    taken = []

    def take(wanted: int) -> None:
        taken.append(wanted)
        raise UserError("There is none.")

    hydra = SimpleNamespace(launcher=SimpleNamespace(_target_=launcher), job=SimpleNamespace(num=0))
    monkeypatch.setattr(__main__.HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(__main__, "end_in_order", lambda: None)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr("selectmm.launch.gpus.own_gpus", take)
    monkeypatch.setattr("selectmm.launch.place.started", lambda: None)
    with pytest.raises(UserError, match="There is none"):
        __main__._run(OmegaConf.create({"model": {}, "devices": 2}))
    assert taken == [2]


FULL_DISK = """
import sys
from selectmm import __main__
def full(_):
    raise OSError({errno}, "{said}", "/data/outputs/2026/.hydra/config.yaml")
__main__._answer = full
__main__.main()
"""


def test_a_full_disk_wherever_it_shows_is_one_sentence_and_other_errors_are_ours() -> None:
    """As where Hydra writes its own files, before any code of ours runs."""
    code = FULL_DISK.format(errno=28, said="No space left on device")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "\n/data/outputs/2026/.hydra/config.yaml could not be written: No space left on device. What was finished is "
        "kept; make room, and start the same command again.\n",
    )
    other = subprocess.run(
        [sys.executable, "-c", FULL_DISK.format(errno=5, said="I/O")], capture_output=True, text=True
    )
    assert "Traceback" in other.stderr


# PyTorch's answer starts CUDA, which keeps what it sees then, unless NVML is there and to be asked.
ASKING = """
import os, torch
def is_available():
    if {starts}:
        with open("started.txt", "a") as started:
            print(os.environ["CUDA_VISIBLE_DEVICES"], file=started)
    return False
torch.cuda.is_available = is_available
"""
POOL = ["pool=llava_json", "pool.file=pool/pool.json", "pool.images=pool/images"]
SIDE_BY_SIDE = ["-m", "hydra/launcher=joblib", *POOL, "tracker=none", "scale=full"]  # which needs a GPU, so it ends


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, on a machine with two GPUs; their locks lie there, and what CUDA saw when it started."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    (tmp_path / "started.txt").touch()
    write_pool(tmp_path / "pool", rows=4)
    return tmp_path


def _sweep() -> None:
    """End joblib's workers as an interpreter does at its end; a forked process would wait for them, for minutes."""
    try:
        __main__.main()
    finally:
        get_reusable_executor().shutdown()


@pytest.mark.slow
def test_a_worker_has_its_own_gpu_before_cuda_starts(gpus: Path) -> None:
    """CUDA keeps what it sees when it starts: every job would be on the first GPU. Where there is no NVML."""
    worker = "import sys\nif any('popen_loky' in word for word in sys.orig_argv):\n    "
    (gpus / "sitecustomize.py").write_text(worker + f"exec({ASKING.format(starts=True)!r})")
    done = command([*SIDE_BY_SIDE, "hydra.launcher.n_jobs=2"], gpus, _sweep)  # its workers are processes of their own
    assert "This setting needs a GPU" in done.stderr
    assert set((gpus / "started.txt").read_text().split()) in ({"0"}, {"1"})


@pytest.mark.slow
def test_a_sweep_that_is_its_own_worker_starts_no_cuda_before_its_first_job(gpus: Path) -> None:
    """It has imported everything and built the jobs by then, to check them."""
    asking = ASKING.format(starts="os.getenv('PYTORCH_NVML_BASED_CUDA_CHECK') != '1'")
    program = f"{asking}from selectmm.__main__ import main\nmain()"
    command = [sys.executable, "-c", program, *SIDE_BY_SIDE, "hydra.launcher.n_jobs=1", "method=full,random"]
    done = subprocess.run(command, cwd=gpus, capture_output=True, text=True)
    assert "This setting needs a GPU" in done.stderr
    assert list(gpus.glob("selectmm-*-gpus/0.lock")) and "0,1" not in (gpus / "started.txt").read_text()


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (["help"], 0, "selectmm compares data-selection methods", ""),
        (["version"], 0, "selectmm ", ""),
        (
            ["reprot", "--help"],
            1,
            "",
            "\n'reprot' is neither a command nor an option: did you mean the command 'report'?",
        ),
    ],
)
def test_help_and_version_are_answered_and_a_command_that_is_none_is_refused(
    words: list[str], status: int, out: str, err: str, tmp_path: Path
) -> None:
    done = command(words, tmp_path)
    assert done.returncode == status
    assert done.stdout.startswith(out) and done.stderr.startswith(err)


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("selectmm sweep method=pri", "method=prism"),
        ("selectmm plan --gpu=h100 -m method=pri", "method=prism"),
        ("selectmm method=pri", "method=prism"),
        ("selectmm run ", "budget="),
        ("selectmm rep", "report"),
        ("selectmm ", "sweep"),
    ],
)
def test_the_shell_completes_commands_and_the_options_behind_them(
    line: str, completed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    done = command(["-sc", "query=bash"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert completed in done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_bash_evaluates_what_installs_the_completion(shell: str, tmp_path: Path) -> None:
    def installed() -> None:
        sys.argv[0] = "/usr/bin/selectmm"
        __main__.main()

    script = command(["-sc", f"install={shell}"], tmp_path, installed).stdout
    done = subprocess.run(["bash", "-c", f"{script}\ncomplete -p selectmm"], capture_output=True, text=True)
    assert done.stderr == ""
    assert "-F hydra_bash_completion selectmm" in done.stdout
