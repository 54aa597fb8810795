"""Who scores an answer that no rule can score: nobody, our offline matcher, or a judge model behind a URL.

Only `Server` talks to the network, and only where ``judge=url`` asks for it.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Literal
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from selectmm.errors import UserError

Message = Mapping[Literal["role", "content"], str]

LONGEST_WAIT = 60.0  # seconds between two attempts
BUSY = {408, 409, 425, 429}  # like 500 and above: worth another attempt
OF_ONE_ITEM = {400, 413, 422}  # the server refuses this question (too long, against its rules), not every one


class NotJudged(Exception):
    """The server works, but gave no judgement of this one item; the message is half a sentence."""


@dataclass(frozen=True)
class NoJudge:
    """Benchmarks that need a judge are left out, and the record and its tables say so."""


@dataclass(frozen=True)
class ExactJudge:
    """Our offline matcher (`selectmm.evaluation.exact`) for benchmarks that have one; the others are left out."""


@dataclass(frozen=True)
class Server:
    """A judge model behind any server that speaks OpenAI's chat completions, asked at temperature 0.

    Attributes:
        url: the server's address up to and with ``/v1``.
        model: the judge's name, as the server knows it; it is part of what a score depends on, the address is not.
        key: the environment variable that holds the key, or None for a server that wants none.
        timeout: seconds to wait for one answer.
        attempts: how often one question is sent before the run stops.
        wait: seconds before the second attempt; it doubles each time, up to `LONGEST_WAIT`.

    Raises:
        UserError: the address is none, or the environment variable is not set.
    """

    url: str
    model: str
    key: str | None
    timeout: float
    attempts: int
    wait: float

    def __post_init__(self) -> None:
        if not str(self.url).startswith(("http://", "https://")):
            raise UserError(f"judge.url={self.url} is not an address; give one such as http://localhost:8000/v1.")
        if self.attempts < 1:
            raise UserError(f"judge.attempts={self.attempts} never asks; give a whole number above 0.")
        if self.key is not None and not os.environ.get(self.key):
            raise UserError(
                f"The judge's key is read from the environment variable {self.key}, which is not set; export it, or "
                f"set judge.key=null for a server that wants none."
            )

    def ask(self, messages: Sequence[Message], max_tokens: int) -> str:
        """The judge's reply to one conversation.

        Raises:
            NotJudged: it refuses this question, or replies with nothing.
            UserError: it cannot be reached, or answers otherwise than such a server does, after all attempts.
        """
        content = {"model": self.model, "messages": list(messages), "temperature": 0, "max_tokens": max_tokens}
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(min(self.wait * 2 ** (attempt - 1), LONGEST_WAIT))
            try:
                return _reply(self._post(json.dumps(content).encode()))
            except _Status as error:
                problem = str(error)
                if error.code in OF_ONE_ITEM:
                    raise NotJudged(f"the judge refused the question ({problem})") from error
                if error.code < 500 and error.code not in BUSY:
                    break
            except (URLError, HTTPException, OSError, _NoCompletion) as error:
                late = isinstance(getattr(error, "reason", error), TimeoutError)
                problem = f"no answer within {self.timeout:g} s" if late else str(getattr(error, "reason", error))
        raise UserError(f"The judge at {self.url} failed after {_times(attempt + 1)}: {problem}")

    def _post(self, content: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {os.environ[self.key]}"
        request = Request(f"{self.url.rstrip('/')}/chat/completions", data=content, headers=headers, method="POST")
        try:
            with urlopen(request, timeout=self.timeout) as response:
                return response.read()
        except HTTPError as error:
            raise _Status(error.code, f"HTTP {error.code} {error.reason}: {_start(error.read())}") from error


Judge = NoJudge | ExactJudge | Server


class _Status(Exception):
    """The server answered with an error of HTTP's."""

    def __init__(self, code: int, problem: str) -> None:
        super().__init__(problem)
        self.code = code


class _NoCompletion(Exception):
    """What came is not a chat completion."""


def _reply(content: bytes) -> str:
    """The text of a chat completion."""
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise _NoCompletion(f"it answered something that is not a chat completion: {_start(content)}") from error
    if not isinstance(text, str) or not text.strip():
        raise NotJudged("the judge replied with nothing")
    return text


def _start(content: bytes) -> str:
    return repr(content[:80].decode(errors="replace"))


def _times(attempts: int) -> str:
    return "one attempt" if attempts == 1 else f"{attempts} attempts"
