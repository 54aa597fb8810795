"""Work through a task's requests batch by batch: answers are kept as they come, and processes share the batches.

Every process appends what it answers to a file of its own, so that nobody writes where another reads. Who starts again
after a kill reads them all and asks for the rest: at most the running batch is lost.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from selectmm.cache.progress import track

ENDING = ".responses.jsonl"


class ShareAnswered(Exception):
    """The signal that a rank has answered its share of a task; it leaves the harness."""


@dataclass(frozen=True)
class Share:
    """What one of several ranks answers: every ``of``-th batch from ``rank`` on."""

    rank: int = 0
    of: int = 1


EVERYTHING = Share()


@dataclass(frozen=True)
class Responses:
    """The responses to one task's requests, kept in files as they come.

    Attributes:
        folder: exists; it belongs to one model and one way of asking, so that a request has one answer.
        task: the harness's name of the task. what: the name on the progress bar.
    """

    folder: Path
    task: str
    what: str
    share: Share = EVERYTHING

    def answer(
        self,
        requests: Sequence[object],
        order: Sequence[int],
        batch_size: int,
        ask: Callable[[Sequence[int]], Sequence[Any]],
        coming: Callable[[Sequence[int]], None] | None = None,
    ) -> list[Any]:
        """The answers, plain JSON values, in the order of ``requests``.

        Args:
            requests: what makes each request what it is, as JSON; an answer found for another request is not used.
            order: positions of the requests as they are to be batched, [n].
            ask: answers the requests at some positions, one batch.
            coming: is told the next batch before ``ask`` has this one.

        Raises:
            ShareAnswered: this process answers a share, and that is done; who answers everything finds it there.
        """
        keys = [_key(position, request) for position, request in enumerate(requests)]
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self._answer(keys, batches[self.share.rank :: self.share.of], ask, coming)
        if self.share != EVERYTHING:
            raise ShareAnswered
        known = self.read()
        return [known[key] for key in keys]

    def _answer(
        self,
        keys: Sequence[str],
        batches: Sequence[Sequence[int]],
        ask: Callable[[Sequence[int]], Sequence[Any]],
        coming: Callable[[Sequence[int]], None] | None,
    ) -> None:
        known = self.read()
        due = [left for batch in batches if (left := [i for i in batch if keys[i] not in known])]
        if not due:
            return
        stream = iter(track((i for batch in due for i in batch), self.what, sum(map(len, due))))
        with self._appending() as keep:
            for batch, following in zip_longest(due, due[1:]):
                taken = list(islice(stream, len(batch)))
                if coming is not None and following is not None:
                    coming(following)
                keep([keys[i] for i in taken], ask(taken))
            next(stream, None)  # closes the bar

    def read(self) -> dict[str, Any]:
        """All answers that any process has kept, by key; a line that was not written to its end is none."""
        known = {}
        for file in self._files():
            for line in file.read_bytes().split(b"\n")[:-1]:
                known |= dict([json.loads(line)])
        return known

    def clear(self) -> None:
        """Forget the answers, once the benchmark's own files hold them."""
        for file in self._files():
            file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self.task}.*{ENDING}"))

    @contextmanager
    def _appending(self) -> Iterator[Callable[[Sequence[str], Sequence[Any]], None]]:
        """Append batches of answers to a new file, each at once."""
        path = self.folder / f"{self.task}.{os.getpid()}-{time.time_ns()}{ENDING}"
        with path.open("xb") as file:

            def keep(keys: Sequence[str], answers: Sequence[Any]) -> None:
                lines = [json.dumps(pair) + "\n" for pair in zip(keys, answers, strict=True)]
                file.write("".join(lines).encode())
                file.flush()

            yield keep


def _key(position: int, request: object) -> str:
    content = json.dumps(request, sort_keys=True, default=str)
    return f"{position}:{hashlib.sha256(content.encode()).hexdigest()[:16]}"
