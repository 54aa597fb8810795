"""A judge behind a URL: what is sent, what is retried, and what each failure says."""

import socket
import time
from itertools import count

import pytest

from selectmm.errors import UserError
from selectmm.evaluation.judge import NotJudged, Server
from tests.evaluation.judge_server import Say, completion, judge_server

QUESTION = [{"role": "user", "content": "How good is it?"}]


def server(url: str, **options: object) -> Server:
    return Server(**{"url": url, "model": "judge-1", "key": None, "timeout": 30, "attempts": 3, "wait": 0, **options})


def test_what_is_sent_and_what_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "secret")
    with judge_server(lambda _: "0.7") as (url, asked):
        assert server(url, key="TEST_KEY").ask(QUESTION, 128) == "0.7"
        server(f"{url}/").ask(QUESTION, 5)
    content = {"model": "judge-1", "messages": QUESTION, "temperature": 0, "path": "/v1/chat/completions"}
    assert asked[0] == {**content, "max_tokens": 128, "key": "Bearer secret"}
    assert asked[1] == {**content, "max_tokens": 5, "key": None}


@pytest.mark.parametrize(
    "fault",
    [
        (500, b"oops"),
        (503, b""),
        (429, b"slow down"),
        (200, b"<html>"),
        (200, {"error": "none"}),
        (200, {"choices": []}),
    ],
)
def test_a_passing_fault_is_asked_again(fault: object) -> None:
    calls = count()
    with judge_server(lambda _: fault if next(calls) < 2 else "0.5") as (url, asked):
        assert server(url).ask(QUESTION, 8) == "0.5"
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("fault", "said", "requests"),
    [
        ((500, b"oops"), r"failed after 3 attempts: HTTP 500 Internal Server Error: 'oops'", 3),
        ((429, b"slow down"), r"failed after 3 attempts: HTTP 429 Too Many Requests: 'slow down'", 3),
        ((401, b"no key"), r"failed after one attempt: HTTP 401 Unauthorized: 'no key'", 1),
        ((404, b"no such model"), r"failed after one attempt: HTTP 404 Not Found: 'no such model'", 1),
        (
            (200, b"<html>"),
            r"failed after 3 attempts: it answered something that is not a chat completion: '<html>'",
            3,
        ),
        ((200, [1]), r"failed after 3 attempts: it answered something that is not a chat completion: '\[1\]'", 3),
    ],
)
def test_a_lasting_fault_is_told_with_the_address(fault: tuple[int, object], said: str, requests: int) -> None:
    with judge_server(lambda _: fault) as (url, asked), pytest.raises(UserError, match=f"The judge at {url} {said}"):
        server(url).ask(QUESTION, 8)
    assert len(asked) == requests


def test_a_server_that_never_answers() -> None:
    with judge_server(lambda _: None) as (url, asked):
        with pytest.raises(UserError, match=r"failed after 2 attempts: no answer within 0\.3 s"):
            server(url, timeout=0.3, attempts=2).ask(QUESTION, 8)
        assert len(asked) == 2


def test_a_server_that_sends_a_byte_at_a_time_is_given_no_more_time() -> None:
    """Each byte comes after 0.02 s, all of them after twenty."""
    drops = (b" ",) * 1000
    with judge_server(lambda _: (200, drops)) as (url, _):
        began = time.monotonic()
        with pytest.raises(UserError, match=r"failed after 2 attempts: no answer within 0\.3 s"):
            server(url, timeout=0.3, attempts=2).ask(QUESTION, 8)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_goes_nowhere(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("TEST_KEY", "secret")
    with (
        judge_server(lambda _: "1.0") as (elsewhere, strangers),
        judge_server(lambda _: (status, elsewhere)) as (url, _),
    ):
        said = rf"The judge at {url} points elsewhere \(HTTP {status}\), to '{elsewhere}', and nothing was sent there"
        with pytest.raises(UserError, match=said):
            server(url, key="TEST_KEY").ask(QUESTION, 8)
    assert strangers == []


def test_an_answer_without_end_is_cut_off() -> None:
    with judge_server(lambda _: (200, b"x" * (2**20 + 1))) as (url, _):
        with pytest.raises(UserError, match=r"failed after one attempt: it answered more than 1,048,576 bytes"):
            server(url, attempts=1).ask(QUESTION, 8)


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    with judge_server(lambda _: "0.5 \ud800") as (url, _):
        assert server(url).ask(QUESTION, 8) == "0.5 ?"


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=f"The judge at {url} failed after 3 attempts: .*refused"):
            server(url).ask(QUESTION, 8)


@pytest.mark.parametrize(
    ("say", "said"),
    [
        (lambda _: (400, b"too long"), "the judge refused the question .HTTP 400 Bad Request: 'too long'."),
        (lambda _: "  ", "the judge replied with nothing"),
        (lambda _: (200, completion(None)), "the judge replied with nothing"),
    ],
)
def test_what_is_wrong_with_one_question_is_not_asked_again(say: Say, said: str) -> None:
    with judge_server(say) as (url, asked), pytest.raises(NotJudged, match=said):
        server(url).ask(QUESTION, 8)
    assert len(asked) == 1


def test_waits_double_up_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("selectmm.evaluation.judge.time.sleep", waits.append)
    with judge_server(lambda _: (500, b"")) as (url, _), pytest.raises(UserError):
        server(url, wait=20, attempts=5).ask(QUESTION, 8)
    assert waits == [20, 40, 60, 60]


def test_a_key_that_is_not_set() -> None:
    said = (
        r"The judge's key is read from the environment variable NO_SUCH_KEY, which is not set; export it, or set "
        r"judge\.key=null for a server that wants none\."
    )
    with pytest.raises(UserError, match=said):
        server("http://localhost/v1", key="NO_SUCH_KEY")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "http://me:secret@host/v1"}, r"judge\.url holds a user name or a password, which every record would"),
        ({"url": "localhost:8000"}, r"judge\.url=localhost:8000 is not an address; give one such as http://"),
        ({"timeout": 0}, r"judge\.timeout=0 ends every request or none; give seconds, such as 60\."),
        ({"timeout": float("nan")}, r"judge\.timeout=nan ends every request or none"),
        ({"attempts": 0}, r"judge\.attempts=0 never asks; give a whole number above 0\."),
    ],
)
def test_values_that_cannot_be(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        server(**{"url": "http://localhost/v1", **options})
