"""The GPU script, shrunken, on a CPU; its page without a GPU; the committed page."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from experiments.performance import gpu
from experiments.performance.gpu_page import ROOT, Row, make

RECORD = ROOT / "results" / "metrics" / "gpu.json"


def run(folder: Path, *arguments: str) -> tuple[str, dict]:
    page = gpu.main([*arguments, "--out", str(folder), "--records", str(folder)])
    return page.read_text(), json.loads((folder / "gpu.json").read_text())


def test_every_part_runs_on_tiny_models_and_the_page_says_that_they_are(tmp_path: Path) -> None:
    page, record = run(tmp_path, "--tiny")
    assert "**This is no measurement of a GPU.**" in page and record["device"] is None and record["seed"] == 0
    parts = {part["name"]: part for part in record["parts"]}
    assert {name for name, part in parts.items() if part["why"]} == {"vLLM"}
    assert parts["vLLM"]["why"].startswith("vLLM is not installed here") and "vLLM is not installed here" in page
    timed = [row for part in record["parts"] for row in part["rows"] if row["planned"] is not None]
    assert len(timed) == 7 and all(row["seconds"] > 0 and row["planned"] > 0 for row in timed)
    step, *_ = parts["LoRA step"]["rows"]
    assert step["what"] == "a step of 4 rows of 320 tokens"
    padded, flash, packed, varlen = parts["attention kernels"]["rows"]
    assert flash["note"] == varlen["note"] == "not measured: the package flash-attn is not installed"
    losses = [float(row["note"].split()[1].rstrip(",")) for row in (padded, packed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert all("of 3 rows are the same (8 rows" in row["note"] for row in parts["bfloat16 against float32"]["rows"])


def test_without_a_gpu_the_page_says_what_has_not_been_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    page, record = run(tmp_path)
    assert "**Nothing yet**: this project has had no machine with a GPU." in page
    assert all(part["why"] == "there was no GPU" and not part["rows"] for part in record["parts"])
    assert all(f"- **{part['name']}**: " in page for part in record["parts"])


def test_a_run_that_is_cut_off_leaves_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_given: object) -> Iterator[Row]:
        yield Row("first", 2.0, planned=1.0)
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    def stopped(_given: object) -> Iterator[Row]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(gpu, "setup", lambda *_: None)
    monkeypatch.setattr(gpu, "PARTS", {"one": (breaks, 0), "long": (breaks, 99), "two": (stopped, 0)})
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "--tiny")
    one, long, two = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [row["what"] for row in one["rows"]] == ["first"] and one["why"] == "CUDA out of memory."
    assert long["why"].endswith("minutes were left, and it may need 99") and not two["rows"]
    page = (tmp_path / "gpu.md").read_text()
    assert "| first | 2.000 | 1.000 | 2.00 |" in page and "Not all of it was measured: CUDA out of memory." in page


def test_the_committed_page_is_what_its_record_says(tmp_path: Path) -> None:
    assert make(tmp_path, RECORD).read_text() == (ROOT / "results" / "tables" / "gpu.md").read_text()
    record = json.loads(RECORD.read_text())
    assert not record["tiny"] and str(ROOT) not in RECORD.read_text()
    assert record["provenance"]["commit"] and not record["provenance"]["dirty"]
