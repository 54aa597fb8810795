"""LRV-Instruction's own rows."""

import json
from pathlib import Path

import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.pool.lrv import open_lrv
from selectmm.pool.sample import Turn


def test_a_question_and_its_answer_about_an_image_of_visual_genome(tmp_path: Path) -> None:
    row = {"image_id": "2392588", "question": "Can you see a teapot? ", "answer": "No. ", "task": "negative"}
    file = tmp_path / "filter_cap.json"
    file.write_text(json.dumps([row, {**row, "image_id": 2392588, "task": None}]))
    Image.new("RGB", (8, 6)).save(tmp_path / "2392588.jpg")
    pool = open_lrv(str(file), str(tmp_path), "stop", str(tmp_path / "cache"))
    assert pool[0].turns == pool[1].turns == (Turn("user", "Can you see a teapot?"), Turn("assistant", "No. "))
    assert (pool.images, pool.counts()) == (["2392588.jpg"], {"negative": 1, "lrv": 1})
    file.write_text(json.dumps([{**row, "task": task} for task in (0, False, "", [], float("nan"))]))
    pool = open_lrv(str(file), str(tmp_path), "stop", str(tmp_path / "cache"))
    assert pool.sources.tolist() == ["0", "False", "lrv", "lrv", "lrv"]
    file.write_text(json.dumps([row, {"image_id": "1", "question": "What?"}]))
    with pytest.raises(UserError, match=r"Row 1 of .* lacks 'image_id', 'question' or 'answer': .*; LRV rows look"):
        open_lrv(str(file), str(tmp_path), "stop", str(tmp_path / "cache"))
