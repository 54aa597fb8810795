"""An alignment of other layers than the committed one's, made in three steps and opened as any embedded model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.quickstart import align
from selectmm.quickstart.embedded import open_model


@pytest.mark.slow
def test_a_model_of_other_layers_is_aligned_and_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align, "ROUNDS", (replace(align.ROUNDS[0], steps=3),))
    align.main(["--layers", "0", "15", "29", "--to", str(tmp_path / "three")])
    three = open_model("float32", "cpu", str(tmp_path / "cache"), str(tmp_path / "three"))
    record = json.loads((tmp_path / "three" / "alignment.json").read_text())
    assert len(three.layers) == 3 and record["layers"] == [0, 15, 29]
    assert record["command"] == "python -m selectmm.quickstart.align --layers 0 15 29"


def test_a_folder_without_an_alignment_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"elsewhere/alignment\.safetensors or its record is missing"):
        open_model("float32", "cpu", str(tmp_path), str(tmp_path / "elsewhere"))
