"""Answers survive a kill, and a share of them may be somebody else's."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from selectmm.evaluation.answering import Responses, Share, ShareAnswered

REQUESTS = [f"question {number}" for number in range(10)]
ORDER = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]


def shout(items: Sequence[int]) -> list[str]:
    return [REQUESTS[item].upper() for item in items]


def fail(_items: Sequence[int]) -> list[str]:
    raise AssertionError("asked again")


ANSWERS = [request.upper() for request in REQUESTS]


def test_answers_come_in_the_order_of_the_requests_and_are_asked_once(tmp_path: Path) -> None:
    responses, asked = Responses(tmp_path, "task", "asked"), []
    assert responses.answer(REQUESTS, ORDER, 4, lambda items: asked.append(list(items)) or shout(items)) == ANSWERS
    assert asked == [ORDER[:4], ORDER[4:8], ORDER[8:]]
    assert responses.answer(REQUESTS, ORDER, 3, fail) == ANSWERS  # whatever the batch
    responses.clear()
    assert not list(tmp_path.iterdir())


def test_a_changed_request_is_asked_again(tmp_path: Path) -> None:
    responses = Responses(tmp_path, "task", "asked")
    responses.answer(REQUESTS, ORDER, 4, shout)
    asked: list[int] = []
    changed = [*REQUESTS[:7], "another", *REQUESTS[8:]]
    responses.answer(changed, ORDER, 4, lambda items: asked.extend(items) or ["new"] * len(items))
    assert asked == [7]


def test_what_was_answered_before_a_failure_is_kept(tmp_path: Path) -> None:
    responses, batches = Responses(tmp_path, "task", "asked"), []

    def third_fails(items: Sequence[int]) -> list[str]:
        batches.append(items)
        if len(batches) == 3:
            raise KeyboardInterrupt
        return shout(items)

    with pytest.raises(KeyboardInterrupt):
        responses.answer(REQUESTS, ORDER, 4, third_fails)
    asked: list[int] = []
    assert responses.answer(REQUESTS, ORDER, 4, lambda items: asked.extend(items) or shout(items)) == ANSWERS
    assert asked == ORDER[8:]


KILLED = """
import os, signal, sys
from pathlib import Path
from selectmm.evaluation.answering import Responses
from tests.evaluation.test_answering import ORDER, REQUESTS, shout

def ask(items):
    if 9 in items:
        os.kill(os.getpid(), signal.SIGKILL)
    return shout(items)

Responses(Path(sys.argv[1]), "task", "asked").answer(REQUESTS, ORDER, 4, ask)
"""


def test_a_killed_process_loses_its_running_batch_alone(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    asked: list[int] = []
    answers = Responses(tmp_path, "task", "asked").answer(
        REQUESTS, ORDER, 4, lambda items: asked.extend(items) or shout(items)
    )
    assert answers == ANSWERS and asked == ORDER[4:]


@pytest.mark.parametrize("lost", [1, 2, 30])
def test_half_a_line_is_no_answer(tmp_path: Path, lost: int) -> None:
    responses = Responses(tmp_path, "task", "asked")
    responses.answer(REQUESTS, ORDER, 4, shout)
    file = next(tmp_path.iterdir())
    file.write_bytes(file.read_bytes()[:-lost])
    asked: list[int] = []
    assert responses.answer(REQUESTS, ORDER, 4, lambda items: asked.extend(items) or shout(items)) == ANSWERS
    assert asked == [7]


def test_a_rank_answers_every_so_many_batches_and_leaves(tmp_path: Path) -> None:
    asked: list[int] = []
    with pytest.raises(ShareAnswered):
        Responses(tmp_path, "task", "asked", Share(1, 2)).answer(
            REQUESTS, ORDER, 4, lambda items: asked.extend(items) or shout(items)
        )
    assert asked == ORDER[4:8]


def test_what_ranks_have_answered_is_not_asked_again_and_what_a_lost_one_left_is(tmp_path: Path) -> None:
    with pytest.raises(ShareAnswered):
        Responses(tmp_path, "task", "asked", Share(1, 2)).answer(REQUESTS, ORDER, 4, shout)
    mine: list[int] = []
    responses = Responses(tmp_path, "task", "asked")
    assert responses.answer(REQUESTS, ORDER, 4, lambda items: mine.extend(items) or shout(items)) == ANSWERS
    assert mine == [*ORDER[:4], *ORDER[8:]]
