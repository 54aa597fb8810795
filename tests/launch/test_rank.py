"""A rank ends when torchrun is killed, also while it still waits for the other ranks."""

import signal
import subprocess
import sys

RANK = """
import os, sys
from selectmm.launch.rank import end_with
end_with(os.getppid(), os.getpid())
print("waits", flush=True)
sys.stdin.read()
"""
TORCHRUN = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1]])
"""


def test_a_rank_ends_with_its_torchrun() -> None:
    torchrun = subprocess.Popen(
        [sys.executable, "-c", TORCHRUN, RANK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert torchrun.stdout.readline() == "waits\n"
    torchrun.send_signal(signal.SIGKILL)
    assert torchrun.stdout.read() == "", "the rank, which had it open too, has ended"
    torchrun.wait()
