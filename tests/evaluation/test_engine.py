"""What happens when one of several engines fails, shown with processes that are no engines."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.evaluation.engine import Engine, Processes, Request, running

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


def test_neither_output_nor_images_of_an_engine_are_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("content")
    (tmp_path / "images").mkdir()
    log, images = tmp_path / "vllm-0.log", tmp_path / "images-0-0"
    log.symlink_to(tmp_path / "mine")
    images.symlink_to(tmp_path / "images")
    engine = Engine(sys.executable, None, 0.5, 1, False)
    with pytest.raises(UserError, match=f"^{log} is a link, but no stage makes links; delete it, and start again"):
        with running(engine, tmp_path, "float32", 1, tmp_path):
            pass
    with pytest.raises(UserError, match=f"^{images} is a link, but no stage makes links; delete it, and start again"):
        Processes(engine, tmp_path, [])._send(0, 0, [])
    assert (tmp_path / "mine").read_text() == "content" and not list((tmp_path / "images").iterdir())
