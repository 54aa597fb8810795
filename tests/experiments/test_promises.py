"""The page of promises is made again from its records, and every test that it names exists."""

import ast
import json
from pathlib import Path

import pytest

from experiments.promises.bad_inputs import NAME, TESTS, counts_in
from experiments.promises.promises import FILES, METRICS, ROOT, RUNS, make


def test_the_committed_page_is_made_again_from_runs_of_a_commit(tmp_path: Path) -> None:
    assert make(tmp_path).read_bytes() == (ROOT / "results" / "tables" / "promises.md").read_bytes()
    record = json.loads((METRICS / NAME).read_text())
    assert record["provenance"]["commit"] and not record["provenance"]["dirty"]
    assert set(record["kinds"]) == set(TESTS)
    assert all(found["passed"] and not found["failed"] and not found["status"] for found in record["kinds"].values())


@pytest.mark.parametrize("test", sorted({test for promise in (*FILES, *RUNS) for test in promise.tests}))
def test_a_promise_names_tests_that_exist(test: str) -> None:
    file, _, function = test.partition("::")
    nodes = ast.walk(ast.parse((ROOT / "tests" / file).read_text()))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert names if not function else function in names


def test_every_kind_of_bad_input_stands_behind_a_promise() -> None:
    assert {promise.figure for promise in (*FILES, *RUNS)} - {"", "kills"} == set(TESTS)


def test_examples_are_counted_as_hypothesis_tells_them() -> None:
    output = """\
tests/pool/test_image.py::test_damaged[a b]:

  - during reuse phase (0.01 seconds):
    - Typical runtimes: < 1ms, of which < 1ms in data generation
    - 2 passing, 0 failing, and 0 invalid test cases

  - during generate phase (2.31 seconds):
    - Typical runtimes: ~ 5-11 ms, of which ~ 1-2 ms in data generation
    - 98 passing, 1 failing, and 7 invalid test cases

  - Stopped because settings.max_examples=100


tests/pool/test_stream.py::test_lines:

  - during generate phase (0.31 seconds):
    - 10 passing, 0 failing, and 0 invalid test cases
"""
    assert counts_in(output) == {
        "tests/pool/test_image.py::test_damaged[a b]": (100, 1),
        "tests/pool/test_stream.py::test_lines": (10, 0),
    }
