"""A run's per-item answers beside its record: one compressed file, named and check-summed by the record.

One JSON object per line: ``benchmark`` and the fields of `Answer`, but for the prompt, which the task's code
makes alike for every run: its hash is in the record's evaluator, its text in the stage's folder. Some 12 KB for the
embedded suite's 956 answers, 18 KB with prompts.
"""

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path

from selectmm.errors import UserError
from selectmm.evaluation.evaluate import read_answers
from selectmm.evaluation.outcome import Answer
from selectmm.evaluation.suite import Score
from selectmm.records.reading import Mismatch, read
from selectmm.records.record import AnswersEntry, RunRecord
from selectmm.records.stage import write_atomically

OPTIONAL = {entry.name: entry.default for entry in fields(Answer) if entry.default is not MISSING}
FOLDER = "answers"  # inside the records' folder, so that copying it copies both


def keep_answers(evaluated: Path, scores: Sequence[Score], records: Path, name: str) -> AnswersEntry:
    """Write the answers of an evaluation's folder as ``records/answers/<name>.jsonl.gz``.

    Equal answers make equal files.

    Args:
        scores: those that were read from ``evaluated``; they name its files of answers.
        name: the record's.
    """
    lines = [_line(score.benchmark, answer) for score in scores for answer in read_answers(evaluated / score.answers)]
    content = gzip.compress("".join(lines).encode(), mtime=0)
    path = records / FOLDER / f"{name}.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return AnswersEntry(f"{FOLDER}/{path.name}", hashlib.sha256(content).hexdigest())


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
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise UserError(
            f"Record {path} names answers outside of its own folder ({record.answers.file}); do not trust it."
        )
    try:
        content = file.read_bytes()
    except OSError as problem:
        raise UserError(
            f"Record {path} names its answers {file}, which cannot be read ({problem.strerror}); copy the file from "
            f"where the run was made, or start the run again."
        ) from problem
    if hashlib.sha256(content).hexdigest() != record.answers.sha256:
        raise UserError(
            f"The answers {file} are not those that record {path} was written with (the checksum differs); copy them "
            f"from where the run was made, or start the run again."
        )
    try:
        return _parsed(content)
    except (OSError, EOFError, ValueError, KeyError, Mismatch) as problem:
        raise UserError(f"The answers {file} cannot be read ({problem}); start the run of {path} again.") from problem


def _parsed(content: bytes) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for line in gzip.decompress(content).splitlines():  # bytes: an answer may hold separators that only text knows
        entry = json.loads(line)
        found.setdefault(entry.pop("benchmark"), []).append(read(Answer, {"prompt": "", **OPTIONAL, **entry}))
    return found


def _line(benchmark: str, answer: Answer) -> str:
    fields = {name: value for name, value in asdict(answer).items() if name != "prompt"}
    return json.dumps({"benchmark": benchmark, **fields}, ensure_ascii=False) + "\n"
