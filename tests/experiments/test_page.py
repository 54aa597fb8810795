"""The performance page is made again from its records; every benchmark runs, shrunken, and prints its ratio.

Nothing is asserted on time: it depends on what else the machine does.
"""

import json
from pathlib import Path

import pytest

from experiments.performance import gradients, open_pool, prism, scalselect, shared_pass
from experiments.performance.page import ROOT, make
from tests.tiny import tiny_llava, write_pool


def test_the_committed_page_is_made_again(tmp_path: Path) -> None:
    assert make(tmp_path).read_bytes() == (ROOT / "results" / "tables" / "performance.md").read_bytes()


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "performance").glob("*.json")), ids=lambda path: path.stem)
def test_a_record_was_made_from_a_commit_and_knows_no_paths(path: Path) -> None:
    provenance = json.loads(path.read_text())["provenance"]
    assert provenance["commit"] and not provenance["dirty"]
    assert str(ROOT) not in path.read_text() and str(Path.home()) not in path.read_text()


def test_prism_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = prism.main(["--rows", "700", "--width", "64", "--matrix-rows", "300", "--out", str(tmp_path)])
    assert_told(record, 3, capsys)
    assert list(tmp_path.iterdir()) == [record], "the features are deleted"


def test_scalselect_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_told(scalselect.main(["--rows", "700", "--width", "64", "--out", str(tmp_path)]), 2, capsys)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("performance")
    pool, _ = write_pool(folder, rows=16)
    model = tiny_llava(folder / "model")
    place = ["--model", str(model), "--pool", str(pool), "--cache", str(folder / "cache"), "--out", str(folder / "out")]
    return ["--rows", "8", "--batch-size", "4", *place]


def test_the_shared_pass_runs(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert_told(shared_pass.main(tiny), 5, capsys)


def test_gradients_run(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert_told(gradients.main(tiny), 3, capsys)


def test_opening_a_pool_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = open_pool.main(["--rows", "1600", "--out", str(tmp_path)])
    assert_told(record, 7, capsys)
    assert list(tmp_path.iterdir()) == [record], "the pools are deleted"


def assert_told(record: Path, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Every ratio is printed and kept, and where both sides have numbers they are the same."""
    comparisons = json.loads(record.read_text())["comparisons"]
    assert len(comparisons) == count
    told = capsys.readouterr().out
    for made in comparisons:
        assert f"ratio {made['ratio']:.3g} in {made['of']}" in told
        assert made["differs"] is None or made["differs"] < 1e-3
