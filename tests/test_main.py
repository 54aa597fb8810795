"""A job that is told to end."""

import subprocess
import sys

import pytest

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
    told = TOLD.format(number=number, before=before)
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "unwound\n"), done.stderr


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
    told = FULL_DISK.format(errno=28, said="No space left on device")
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "\n/data/outputs/2026/.hydra/config.yaml could not be written: No space left on device. What was finished is "
        "kept; make room, and start the same command again.\n",
    )
    other = subprocess.run(
        [sys.executable, "-c", FULL_DISK.format(errno=5, said="I/O")], capture_output=True, text=True
    )
    assert "Traceback" in other.stderr
