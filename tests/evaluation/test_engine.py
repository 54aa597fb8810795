"""What happens when one of several engines fails, shown with processes that are no engines."""

import subprocess
import time
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.evaluation.engine import Engine, Processes, Request

TOO_LONG = 60  # seconds that the process which does not fail would take


def test_the_failure_of_a_later_process_is_reported_while_an_earlier_one_is_at_work(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for command in (f"exec sleep {TOO_LONG}", "exit 3")
    ]
    (tmp_path / "vllm-1.log").write_text("out of luck\n")
    processes = Processes(Engine(None, None, 0.5, 1, False), tmp_path, started)
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"(?s)^The vLLM process 1 ended with code 3; .*out of luck$"):
        processes.ask([0, 1], lambda _: [Request([1], {})])
    assert time.monotonic() - begun < TOO_LONG / 2
    assert [process.poll() is None for process in started] == [False, False]
