"""Per-item answers beside a record: the same that were given, and every way in which they can be wrong."""

import gzip
import hashlib
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.records.answers import load_answers
from selectmm.records.files import load, save
from selectmm.records.record import SCHEMA, AnswersEntry, RunRecord
from selectmm.report.pairing import tallies_of
from tests.statistics.runs import answers, written

MADE = {"a": answers([1.0, 0.0, 0.5], ["x", "x", ""]), "b": answers([None])}


def test_answers_come_back_without_their_prompts(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", MADE)
    found = load_answers(load(path), path)
    assert found == {name: [replace(answer, prompt="") for answer in given] for name, given in MADE.items()}


@pytest.mark.parametrize("odd", [3.5, -0.1, float("nan")])
def test_scores_of_another_scale_are_not_kept_so_that_the_record_can_be_read(tmp_path: Path, odd: float) -> None:
    """A judge's points, say: one beyond 1 tells that the others are no shares either."""
    path = written(tmp_path, "prism", {**MADE, "c": answers([1.0, odd])}, {"c": 40.0})
    found = load_answers(load(path), path)
    assert [answer.score for answer in found["c"]] == [None, None]
    assert [answer.score for answer in found["a"]] == [1.0, 0.0, 0.5]
    assert tallies_of([(path, load(path))])[load(path).name].keys() == {"a"}


def test_equal_answers_make_equal_files(tmp_path: Path) -> None:
    first, second = (load(written(tmp_path / name, "prism", MADE)) for name in "ab")
    assert first.answers == second.answers
    assert first.answers.file == f"answers/{first.name}.jsonl.gz"


def test_a_record_of_before_threads_were_kept_lacks_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", MADE)
    content = json.loads(path.read_text())
    del content["provenance"]["hardware"]["threads"]
    path.write_text(json.dumps({**content, "schema": 3}))
    record = load(path)
    assert (record.schema, record.provenance.hardware.threads) == (SCHEMA, None) and record.answers is not None
    del content["answers"]
    path.write_text(json.dumps({**content, "schema": 3}))
    with pytest.raises(UserError, match="field 'answers' is missing"):
        load(path)


def test_a_record_of_before(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", MADE)
    content = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("answers", "contamination")}
    path.write_text(json.dumps({**content, "schema": 2}))
    record = load(path)
    assert (record.schema, record.answers, record.contamination) == (SCHEMA, None, None)
    with pytest.raises(UserError, match=r"Record .* keeps no per-item answers .*: python -m selectmm method=prism$"):
        load_answers(record, path)


def test_answers_that_are_gone(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", MADE)
    (tmp_path / "records" / load(path).answers.file).unlink()
    with pytest.raises(UserError, match=r"names its answers .*gz, which cannot be read \(No such file"):
        load_answers(load(path), path)


def test_answers_that_were_changed(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", MADE)
    file = tmp_path / "records" / load(path).answers.file
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()).replace(b"0.5", b"1.0")))
    with pytest.raises(UserError, match=r"are not those that record .* was written with \(the checksum differs\)"):
        load_answers(load(path), path)


def test_answers_outside_of_the_folder(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", MADE)
    record = load(path)
    elsewhere = save(replace(record, answers=AnswersEntry("../../passwords", "0")), tmp_path / "other")
    with pytest.raises(UserError, match=r"field 'answers.file' is ../../passwords, not a file in answers/"):
        load(elsewhere)
    file = path.parent / record.answers.file
    file.rename(tmp_path / "kept")
    file.symlink_to(tmp_path / "kept")
    with pytest.raises(UserError, match="names answers outside of its own folder"):
        load_answers(record, path)
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(UserError, match=r"which cannot be read \(.*loop"):
        load_answers(record, path)


GOOD = {"benchmark": "b", "item": "0", "target": "yes", "answer": "no", "score": None}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"benchmark": "a", "item": 3}\n', "field 'target' is missing"),
        (b'["benchmark"]\n', "a line of it names no benchmark"),
        (json.dumps({**GOOD, "benchmark": ["b"]}).encode(), "a line of it names no benchmark"),
        (json.dumps({**GOOD, "benchmark": "c"}).encode(), "it answers 'c', for which the record has no score"),
        (json.dumps({**GOOD, "score": float("nan")}).encode(), "field 'score' is nan, not a number from 0 to 1"),
        (json.dumps({**GOOD, "score": 2}).encode(), "field 'score' is 2, not a number from 0 to 1"),
        (json.dumps({**GOOD, "answer": "\ud800"}).encode(), "surrogates not allowed"),
        (
            json.dumps({**GOOD, "answer": "\ud800"}, ensure_ascii=False).encode(errors="surrogatepass"),
            "can't decode byte 0xed",
        ),
        (json.dumps({**GOOD, "\x1b[31m": 1}).encode(), r"field '\\x1b\[31m' is unknown"),
        (
            f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}".encode(),
            "more answers to b than the 1 items that the record counts",
        ),
        (b"[" * 100_000, "recursion"),
        (b"\xff\n", "can't decode byte"),
    ],
)
def test_answers_that_are_none(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = written(tmp_path, "prism", MADE)
    record = exchanged(load(path), path, gzip.compress(content))
    with pytest.raises(UserError, match=rf"The answers .* cannot be read \(.*{sentence}.*\); start the run of"):
        load_answers(record, path)


@pytest.mark.parametrize(
    "packed", [b"", b"no gzip", gzip.compress(b"x" * 100, mtime=0)[:-9], b"\x1f\x8b\x08" + b"\xff" * 20]
)
def test_answers_that_do_not_unpack(tmp_path: Path, packed: bytes) -> None:
    path = written(tmp_path, "prism", MADE)
    record = exchanged(load(path), path, packed)
    if packed:
        with pytest.raises(UserError, match=r"The answers .* cannot be read \(.+\); start the run of"):
            load_answers(record, path)
    else:
        assert load_answers(record, path) == {}


def test_answers_that_unpack_to_more_than_fits_are_not_unpacked(tmp_path: Path) -> None:
    """Four items may take 320 KiB; 64 MiB of spaces pack into 64 KiB."""
    path = written(tmp_path, "prism", MADE)
    record = exchanged(load(path), path, gzip.compress(b" " * 2**26))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"it unpacks to more than the 327,680 bytes that the answers of its items may"):
        load_answers(record, path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    record = exchanged(record, path, b" " * 327_681)
    with pytest.raises(UserError, match=r"it has 327,681 bytes, the answers to its items at most 327,680"):
        load_answers(record, path)


def test_a_record_that_claims_any_number_of_items(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", MADE)
    record = load(path)
    many = replace(record, scores=tuple(replace(score, items=10**12) for score in record.scores))
    with pytest.raises(UserError, match=r"its record counts 2,000,000,000,000 items; at most 1,000,000 are read"):
        load_answers(many, path)


def exchanged(record: RunRecord, path: Path, packed: bytes) -> RunRecord:
    """The record as it would name ``packed``, which now lies where its answers were."""
    (path.parent / record.answers.file).write_bytes(packed)
    return replace(record, answers=replace(record.answers, sha256=hashlib.sha256(packed).hexdigest()))
