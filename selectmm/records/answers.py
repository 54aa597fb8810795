"""A run's per-item answers beside its record: one compressed file, named and check-summed by the record.

One JSON object per line: ``benchmark`` and the fields of `Answer`, but for the prompt, which the task's code
makes alike for every run: its hash is in the record's evaluator, its text in the stage's folder. Some 12 KB for the
embedded suite's 956 answers, 18 KB with prompts.
"""

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path

from selectmm.cache.reading import Mismatch, read
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.evaluation.outcome import Answer
from selectmm.evaluation.results import read_answers
from selectmm.evaluation.suite import Score
from selectmm.records.files import unkept
from selectmm.records.record import AnswersEntry, RunRecord

OPTIONAL = {entry.name: entry.default for entry in fields(Answer) if entry.default is not MISSING}
FOLDER = "answers"  # inside the records' folder, so that copying it copies both
PER_ITEM = 64 * 2**10  # bytes that an item may take on average, unpacked: ours take 200, a chain of thought 10,000
LARGEST = 2**29  # bytes that a file may unpack to, whatever its record says
MOST = 1_000_000  # items of one record; the largest suite has a quarter of that
GROUPS = 1000  # strata of one benchmark; MME has 14


def keep_answers(evaluated: Path, scores: Sequence[Score], records: Path, name: str) -> AnswersEntry:
    """Write the answers of an evaluation's folder as ``records/answers/<name>.jsonl.gz``.

    Equal answers make equal files.

    Args:
        scores: those that were read from ``evaluated``; they name its files of answers.
        name: the record's.

    Raises:
        UserError: the folder cannot be written.
    """
    lines = [
        _line(score.benchmark, answer)
        for score in scores
        for answer in _as_shares(read_answers(evaluated / score.answers))
    ]
    content = gzip.compress("".join(lines).encode(), mtime=0)
    path = records / FOLDER / f"{name}.jsonl.gz"
    with unkept(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    return AnswersEntry(f"{FOLDER}/{path.name}", hashlib.sha256(content).hexdigest())


def _as_shares(answers: list[Answer]) -> list[Answer]:
    """Without scores if one of them is not from 0 to 1: a judge's points or per cent, of which no reader knows what a
    right answer has."""
    if all(answer.score is None or 0 <= answer.score <= 1 for answer in answers):
        return answers
    return [replace(answer, score=None) for answer in answers]


def load_answers(record: RunRecord, path: Path) -> dict[str, list[Answer]]:
    """A record's answers by benchmark, in the order of the items; their prompts are empty.

    Args:
        path: the record's file, beside which the answers lie.

    Raises:
        UserError: the record has none, or the file is gone, is another one or cannot be read.
    """
    if record.answers is None:
        raise UserError(
            f"Record {path} keeps no per-item answers (it was made before they were kept); start its run again, which "
            f"its command does from the cache if that is still there: {record.provenance.command}"
        )
    file = path.parent / record.answers.file
    items = {score.benchmark: score.items for score in record.scores}
    content = _content(file, path, _most(items))
    if hashlib.sha256(content).hexdigest() != record.answers.sha256:
        raise UserError(
            f"The answers {file} are not those that record {path} was written with (the checksum differs); copy them "
            f"from where the run was made, or start the run again."
        )
    try:
        return _parsed(content, items)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error, Mismatch) as problem:
        raise UserError(f"The answers {file} cannot be read ({problem}); start the run of {path} again.") from problem


def _most(items: Mapping[str, int]) -> int:
    """How many bytes the answers to so many items by benchmark may unpack to."""
    return min(LARGEST, PER_ITEM * (1 + sum(items.values())))


def _content(file: Path, path: Path, most: int) -> bytes:
    """The file, still packed."""
    try:
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise UserError(f"Record {path} names answers outside of its own folder ({file.name}); do not trust it.")
        size = file.stat().st_size
        if file.is_file() and size <= most:  # a pipe would never end
            return file.read_bytes()
        why = (
            f"it has {size:,} bytes, the answers to its items at most {most:,}"
            if file.is_file()
            else "it is not a file"
        )
    except (OSError, RuntimeError) as problem:  # RuntimeError: links that lead to one another
        why = getattr(problem, "strerror", None) or str(problem)
    raise UserError(
        f"Record {path} names its answers {file}, which cannot be read ({why}); copy the file from where the run was "
        f"made, or start the run again."
    )


def _parsed(content: bytes, items: Mapping[str, int]) -> dict[str, list[Answer]]:
    """The answers to so many items by benchmark.

    Raises:
        Mismatch: there is more, or something else.
    """
    if sum(items.values()) > MOST:
        raise Mismatch(f"its record counts {sum(items.values()):,} items; at most {MOST:,} are read")
    found: dict[str, list[Answer]] = {}
    for line in _lines(content, _most(items)):
        name, answer = _answer(line)
        if name not in items:
            raise Mismatch(f"it answers {name!r:.40}, for which the record has no score")
        found.setdefault(name, []).append(answer)
        if len(found[name]) > items[name]:
            raise Mismatch(f"it holds more answers to {name} than the {items[name]:,} items that the record counts")
    for name, answers in found.items():
        if len({answer.stratum for answer in answers}) > GROUPS:
            raise Mismatch(f"its answers to {name} are of more than {GROUPS:,} groups")
    return found


def _answer(line: bytes) -> tuple[str, Answer]:
    entry = json.loads(line.decode())  # of bytes it would guess the encoding, which takes as long as the rest
    if not isinstance(entry, dict) or not isinstance(entry.get("benchmark"), str):
        raise Mismatch("a line of it names no benchmark")
    name = entry.pop("benchmark")
    answer = read(Answer, {"prompt": "", **OPTIONAL, **entry})
    if b"\\u" in line:  # half of a surrogate pair can only come as an escape
        "".join([answer.item, answer.target, answer.answer, answer.image, answer.unit, answer.stratum]).encode()
    if answer.score is not None and not 0 <= answer.score <= 1:
        raise Mismatch(f"field 'score' is {answer.score:g}, not a number from 0 to 1")
    return name, answer


def _lines(content: bytes, most: int) -> Iterator[bytes]:
    """Unpacked line by line, because what a few megabytes unpack to may not fit into memory."""
    left = most
    with io.BufferedReader(gzip.GzipFile(fileobj=io.BytesIO(content))) as stream:  # whose lines cost a third
        while line := stream.readline(left + 1):  # bytes: an answer may hold separators that only text knows
            left -= len(line)
            if left < 0:
                raise Mismatch(f"it unpacks to more than the {most:,} bytes that the answers of its items may take")
            yield line


def _line(benchmark: str, answer: Answer) -> str:
    fields = {name: value for name, value in asdict(answer).items() if name != "prompt"}
    return json.dumps({"benchmark": benchmark, **fields}, ensure_ascii=False) + "\n"
