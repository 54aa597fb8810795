"""What happens when one of several engines fails, shown with processes that are no engines."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.evaluation.engine import Engine, Processes, Request, running
from selectmm.evaluation.suite import Suite
from selectmm.evaluation.vllm_environment import version_in
from selectmm.stages.evaluate import evaluation_identity

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


def engine_of(python: str) -> Engine:
    return Engine(python, window=None, memory=0.5, block=1, batch_invariant=False)


def test_another_version_of_vllm_answers_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels may be others, and with them the answers."""
    for version in ("0.11.0", "0.12.0"):
        package = tmp_path / version / f"vllm-{version}.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    suite = Suite("none", [], None, None, 1, 1)
    named = []
    for version in ("0.11.0", "0.12.0"):
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / version))
        version_in.cache_clear()
        assert engine_of(sys.executable).learned()["vllm"] == version
        named.append(evaluation_identity(suite, "adapter", engine_of(sys.executable)))
    version_in.cache_clear()
    assert named[0] != named[1]


def test_an_environment_without_vllm_or_without_python_has_no_version_of_it(tmp_path: Path) -> None:
    """That it is not there is said when it is to answer; a plan only names what it would make."""
    for python in (sys.executable, str(tmp_path / "nothing")):
        assert engine_of(python).learned()["vllm"] is None
