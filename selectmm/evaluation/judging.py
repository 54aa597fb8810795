"""The step between answering and scoring where a judge model decides: every reply is kept, a failure is never a zero.

A benchmark's ``process_results`` puts a `JudgeRequest` under the key ``asked`` of each item's payload. `judge_all` has
them judged and puts what the replies say in its place, so that the benchmark's aggregation finds its scores.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from selectmm.cache.no_links import open_unlinked
from selectmm.cache.progress import track
from selectmm.cache.stage import fingerprint
from selectmm.errors import UserError
from selectmm.evaluation.judge import Message, NotJudged, Server

NAMED = 3  # failed items whose reason the error gives


@dataclass(frozen=True)
class JudgeRequest:
    """What a judge is asked about one item.

    Attributes:
        messages: the conversation, ending with the question to the judge.
        max_tokens: of its reply.
        read: the payload's fields that a reply gives; raises `NotJudged` where it gives none.
        template: the prompt's fixed part, the same for every item; its hash is part of what a score depends on.
    """

    messages: Sequence[Message]
    max_tokens: int
    read: Callable[[str], Mapping[str, object]]
    template: str


Payload = Mapping[str, object]

# From the names and payloads of a benchmark's items to the judged payloads and what their scores depend on.
Judging = Callable[[Sequence[str], Sequence[Payload]], tuple[list[Payload], Mapping[str, object]]]


def judge_all(
    server: Server, benchmark: str, file: Path, items: Sequence[str], payloads: Sequence[Payload]
) -> tuple[list[Payload], Mapping[str, object]]:
    """The payloads with the judge's scores in the place of ``asked``, and the judge's identity.

    Each reply that can be read is appended to ``file`` as it comes; one that is there for the same judge and the same
    question is not asked for again.

    Args:
        items: name of each payload's item, for the file and for errors.

    Raises:
        UserError: naming the items that got no judgement, or the server's failure and the item it failed at; or the
            file is a link.
    """
    known, failed, judged = read_judgements(file), {}, []
    pairs = list(zip(items, payloads, strict=True))
    with TextIOWrapper(open_unlinked(file, "ab"), encoding="utf-8") as lines:
        lines.write("\n" if file.stat().st_size else "")  # a kill may have cut the last line in half
        for item, payload in track(pairs, f"{benchmark} judge", len(pairs)):
            asked: JudgeRequest = payload["asked"]
            try:
                verdict = _verdict(server, asked, item, known, lines)
            except NotJudged as problem:
                failed[item] = str(problem)
            except UserError as problem:
                raise UserError(f"Benchmark '{benchmark}', item {item}: {problem}. {_AGAIN}") from problem
            else:
                judged.append({**{key: value for key, value in payload.items() if key != "asked"}, **verdict})
    if failed:
        raise UserError(_failure(benchmark, failed, len(items)))
    return judged, _identity(server, payloads)


def _verdict(
    server: Server, asked: JudgeRequest, item: str, known: dict[str, str], lines: TextIO
) -> Mapping[str, object]:
    """What the judge says of one item: said before, or asked now and then kept."""
    mark = fingerprint({"model": server.model, "messages": list(asked.messages)})
    reply = known[mark] if mark in known else server.ask(asked.messages, asked.max_tokens)
    verdict = asked.read(reply)
    if mark not in known:
        lines.write(json.dumps({"item": item, "asked": mark, "reply": reply}, ensure_ascii=False) + "\n")
        lines.flush()
        known[mark] = reply
    return verdict


_AGAIN = "What was judged is kept; start the same command again, and only the rest is asked."


def _failure(benchmark: str, failed: Mapping[str, str], items: int) -> str:
    named = "; ".join(f"item {item}: {problem}" for item, problem in list(failed.items())[:NAMED])
    rest = list(failed)[NAMED:]
    more = f"; also items {', '.join(rest)}" if rest else ""
    return f"Benchmark '{benchmark}': {len(failed)} of {items} items have no judgement ({named}{more}). {_AGAIN}"


def read_judgements(file: Path) -> dict[str, str]:
    """Replies by what was asked; a line that a kill cut in half, even inside a character, is passed over."""
    found = {}
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    for line in text.split("\n"):  # replies may hold other breaks
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found[entry["asked"]] = entry["reply"]
    return found


def _identity(server: Server, payloads: Sequence[Payload]) -> dict[str, object]:
    """What judged scores depend on: the judge's name, its prompts' fixed parts and the temperature."""
    templates = sorted({payload["asked"].template for payload in payloads})
    prompts = hashlib.sha256(json.dumps(templates).encode()).hexdigest()[:16]
    return {"model": server.model, "prompt": prompts, "temperature": 0}
