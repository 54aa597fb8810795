"""Who scores an answer that no rule can score: nobody, our offline matcher, or a judge model behind a URL.

Only `Server` talks to the network, and only where ``judge=url`` asks for it.
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from selectmm.errors import UserError

if TYPE_CHECKING:
    import httpx

Message = Mapping[Literal["role", "content"], str]

LONGEST_WAIT = 60.0  # seconds between two attempts
BUSY = {408, 409, 425, 429}  # like 500 and above: worth another attempt
LARGEST = 2**20  # bytes of an answer; a judgement has some hundred words
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
        timeout: seconds for one request, from the connection to the answer's last byte.
        attempts: how often one question is sent before the run stops.
        wait: seconds before the second attempt; it doubles each time, up to `LONGEST_WAIT`.

    Raises:
        UserError: the address is none, a number is not above 0, or the environment variable is not set.
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
        if "@" in urlsplit(self.url).netloc:  # the record keeps the configuration
            raise UserError(
                "judge.url holds a user name or a password, which every record would keep; leave it out and "
                "give the key in the environment variable that judge.key names."
            )
        if self.attempts < 1:
            raise UserError(f"judge.attempts={self.attempts} never asks; give a whole number above 0.")
        if not 0 < self.timeout < float("inf"):
            raise UserError(f"judge.timeout={self.timeout} ends every request or none; give seconds, such as 60.")
        if self.key is not None and not os.environ.get(self.key):
            raise UserError(
                f"The judge's key is read from the environment variable {self.key}, which is not set; export it, or "
                f"set judge.key=null for a server that wants none."
            )

    def ask(self, messages: Sequence[Message], max_tokens: int) -> str:
        """The judge's reply to one conversation.

        Raises:
            NotJudged: it refuses this question, or replies with nothing.
            UserError: it cannot be reached, sends us elsewhere, or answers otherwise than such a server does, after all
                attempts.
        """
        import httpx  # here, because no other judge needs it

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
            except TimeoutError:
                problem = f"no answer within {self.timeout:g} s"
            except _NoCompletion as error:
                problem = str(error)
            except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:  # of a key that is no ASCII
                problem = _innermost(error)
        raise UserError(f"The judge at {self.url} failed after {_times(attempt + 1)}: {problem}")

    def _post(self, content: bytes) -> bytes:
        """The whole exchange within the time: a limit on each read would let a server send a byte a second."""
        import httpx

        client = httpx.AsyncClient(timeout=None, follow_redirects=False)
        return asyncio.run(asyncio.wait_for(self._exchange(client, content), self.timeout))

    async def _exchange(self, client: "httpx.AsyncClient", content: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {os.environ[self.key]}"
        address = f"{self.url.rstrip('/')}/chat/completions"
        async with client, client.stream("POST", address, content=content, headers=headers) as response:
            if 300 <= response.status_code < 400:
                raise UserError(
                    f"The judge at {self.url} points elsewhere (HTTP {response.status_code}), to "
                    f"{response.headers.get('Location', 'nowhere')!a:.200}, and nothing was sent there, the key "
                    f"neither; if you trust that address, give it as judge.url."
                )
            body = await _body(response)
        if response.status_code >= 400:
            raise _Status(response.status_code, f"HTTP {response.status_code} {response.reason_phrase}: {_start(body)}")
        return body


async def _body(response: "httpx.Response") -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():  # as it was sent: nothing is unpacked
        body += chunk
        if len(body) > LARGEST:
            raise _NoCompletion(f"it answered more than {LARGEST:,} bytes")
    return bytes(body)


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
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _NoCompletion(f"it answered something that is not a chat completion: {_start(content)}") from error
    if not isinstance(text, str) or not text.strip():
        raise NotJudged("the judge replied with nothing")
    return text.encode(errors="replace").decode()  # half of a surrogate pair is no text


def _innermost(error: BaseException) -> str:
    """What a library's error was raised for: the system's words, where there are some."""
    while isinstance(error, Exception) and (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    if isinstance(error, OSError) and (error.errno or 0) > 0:  # asyncio says "Connect call failed", whatever it was
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def _start(content: bytes) -> str:
    return repr(content[:80].decode(errors="replace"))


def _times(attempts: int) -> str:
    return "one attempt" if attempts == 1 else f"{attempts} attempts"
