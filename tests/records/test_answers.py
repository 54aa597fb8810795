"""Per-item answers beside a record: the same that were given, and every way in which they can be wrong."""

import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.records.answers import load_answers
from selectmm.records.record import SCHEMA, AnswersEntry, load, save
from tests.statistics.runs import answers, written

MADE = {"a": answers([1.0, 0.0, 0.5], ["x", "x", ""]), "b": answers([None])}


def test_answers_come_back_without_their_prompts(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", MADE)
    found = load_answers(load(path), path)
    assert found == {name: [replace(answer, prompt="") for answer in given] for name, given in MADE.items()}


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
    save(replace(load(path), answers=AnswersEntry("../../passwords", "0")), path.parent)
    with pytest.raises(UserError, match="names answers outside of its own folder"):
        load_answers(load(path), path)


def test_answers_that_are_none(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", MADE)
    record, content = load(path), gzip.compress(b'{"benchmark": "a", "item": 3}\n')
    (path.parent / record.answers.file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(UserError, match=r"cannot be read \(field 'target' is missing\); start the run of"):
        load_answers(replace(record, answers=replace(record.answers, sha256=digest)), path)
