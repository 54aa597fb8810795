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
    os.kill(os.getpid(), signal.SIGTERM)
finally:
    print("unwound")
"""


@pytest.mark.parametrize(
    ("before", "status"),
    [("", 143), ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", 0)],
    ids=["nobody's", "a launcher's"],
)
def test_a_terminated_job_unwinds_unless_its_launcher_has_another_way(before: str, status: int) -> None:
    done = subprocess.run([sys.executable, "-c", TOLD.format(before=before)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "unwound\n"), done.stderr
