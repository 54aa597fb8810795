"""Checkpoints that are not there, or are of another family."""

from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.models import llava, qwen2_vl
from tests.tiny import tiny_llava


def test_a_checkpoint_of_another_family_is_refused_instead_of_filled_with_random_numbers(tmp_path: Path) -> None:
    folder = tiny_llava(tmp_path / "llava")
    with pytest.raises(UserError, match=r"is no Qwen2VLForConditionalGeneration: it lacks .*; choose one that is,"):
        qwen2_vl.load(str(folder), device="cpu")


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UserError, match=f"No LlavaForConditionalGeneration checkpoint at '{path}'"):
            llava.load(str(path), device="cpu")
