"""What happens before ranks train."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from selectmm.tuning.job import LOCK
from selectmm.tuning.spawn import _wait_for_earlier


def test_ranks_of_a_killed_run_are_waited_for_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "selectmm")
    _wait_for_earlier(tmp_path)
    assert not caplog.messages, "there are none"
    with ThreadPoolExecutor(1) as pool:
        with FileLock(tmp_path / LOCK):
            waiting = pool.submit(_wait_for_earlier, tmp_path)
            while not caplog.messages and not waiting.done():
                time.sleep(0.01)
            assert not waiting.done()
        waiting.result(20)
    assert caplog.messages == [f"  waiting   for the ranks of an earlier start of this training to end, {tmp_path}"]
