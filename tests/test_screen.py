"""What goes to which stream, with and without ``--quiet`` and ``--json``; progress on a terminal and in a log file."""

import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selectmm.cache import progress
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.screen import JOB, answer, message, number_lines, output, take_output_options


def test_the_options_may_stand_anywhere_and_are_taken_out() -> None:
    assert take_output_options(["plan", "--json", "seed=1", "--quiet"]) == (
        ["plan", "seed=1"],
        {"quiet": True, "json": True},
    )
    assert take_output_options(["seed=1"]) == (["seed=1"], {"quiet": False, "json": False})
    with pytest.raises(UserError, match=r"^--json prints to standard output and takes no file; write --json > a\.json"):
        take_output_options(["doctor", "--json=a.json"])


def speak() -> None:
    """As a command does, with a library in C and a process beside it."""
    message("on the way")
    print("result")
    os.write(1, b"from C\n")
    subprocess.run(["echo", "a child"], check=True)
    print("wrong", file=sys.stderr)
    answer({"path": Path("a/b"), "nothing": None, "numbers": (1, math.nan, -math.inf), 3: "\x9b31m"})


DOCUMENT = {"path": "a/b", "nothing": None, "numbers": [1, None, None], "3": "\x9b31m"}


def test_with_json_standard_output_has_the_document_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with output(json=True):
        speak()
    out, err = capfd.readouterr()
    assert json.loads(out) == DOCUMENT
    assert "\x9b" not in out, "a terminal would obey it"
    assert sorted(err.splitlines()) == ["a child", "from C", "on the way", "result", "wrong"]
    speak()
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["a child", "from C", "on the way", "result"], "as before"
    assert err == "wrong\n"


def test_with_both_only_the_document_and_what_is_wrong_are_seen(capfd: pytest.CaptureFixture[str]) -> None:
    with output(quiet=True, json=True):
        speak()
    out, err = capfd.readouterr()
    assert (json.loads(out), err) == (DOCUMENT, "wrong\n")


def test_quiet_leaves_results(capsys: pytest.CaptureFixture[str]) -> None:
    with output(quiet=True):
        message("on the way")
        print("result")
        answer({})
        assert list(progress.track("ab", "letters", 2)) == ["a", "b"]
    assert capsys.readouterr().out == "result\n"


def test_messages_go_where_the_options_say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from hydra import compose, initialize_config_dir
    from hydra.core.utils import configure_log

    monkeypatch.setenv("SELECTMM_ROOT", str(Path(__file__).parents[1]))
    kept = logging.root.handlers[:], logging.root.level
    try:
        for quiet, json, wanted in (
            (False, False, ("on the way\n", "odd\n")),
            (True, False, ("", "odd\n")),
            (False, True, ("", "on the way\nodd\n")),
            (True, True, ("", "odd\n")),
        ):
            with (
                output(quiet=quiet, json=json),
                initialize_config_dir(str(Path(__file__).parents[1] / "configs"), version_base="1.3"),
            ):
                configure_log(compose("run", [], return_hydra_config=True).hydra.job_logging)
                logging.getLogger("selectmm").info("on the way")
                logging.getLogger("selectmm").warning("odd")
            assert capsys.readouterr() == wanted
    finally:
        logging.root.handlers[:], level = kept
        logging.root.setLevel(level)
        logging.getLogger("selectmm").setLevel(logging.NOTSET)


def test_a_log_file_gets_a_line_now_and_then_and_nothing_of_what_is_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(progress.track(range(3), "rows", 3)) == [0, 1, 2]
    assert capsys.readouterr().out == ""
    now = iter(range(0, 10_000, 120))  # two minutes for each row
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    list(progress.track(range(8), "rows", 8))
    assert capsys.readouterr().out == "  rows: 3 of 8; about 10 min left\n  rows: 6 of 8; about 4 min left\n"


def test_progress_and_messages_of_jobs_side_by_side_begin_with_the_number_of_the_job(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(JOB, "0")  # and taken away again afterwards
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler := logging.StreamHandler(sys.stdout)])
    number_lines(1)
    handler.handle(logging.LogRecord("selectmm", logging.INFO, "", 0, "select", (), None))
    now = iter(range(0, 10_000, 200))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    list(progress.track(range(4), "fine-tune", 4))
    assert capsys.readouterr().out == "[1] select\n[1]   fine-tune: 2 of 4; about 7 min left\n"
    code = "from selectmm.screen import message; message('a process of its own')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[1] a process of its own\n"


def test_no_bar_of_a_library_is_drawn() -> None:
    code = "import sys; from selectmm import __main__; sys.argv = ['selectmm', '--version']; __main__.main()\n"
    code += "from tqdm import tqdm; from tqdm.auto import tqdm as other; list(tqdm(range(3))); list(other(range(3)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("selectmm ") and done.stderr == ""


def test_counts_agree_with_their_nouns() -> None:
    assert [counted(number, "row") for number in (0, 1, 2, 665_298)] == ["0 rows", "1 row", "2 rows", "665,298 rows"]
    assert counted(1, "entry", "entries") == "1 entry" and counted(2, "entry", "entries") == "2 entries"
