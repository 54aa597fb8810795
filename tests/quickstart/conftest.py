"""The embedded model, put together once for all tests that need it (some twenty seconds)."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from selectmm.models.vlm import VLM
from selectmm.quickstart import base, language


@pytest.fixture(scope="session", autouse=True)
def one_reading_of_the_words() -> Iterator[None]:
    """transformers takes six seconds to read the tokenizer, and every model that is put together wants one."""
    read = cache(language.tokenizer)

    def copied() -> PreTrainedTokenizerBase:
        return deepcopy(read())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language, "tokenizer", copied)
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="session")
def vlm(folder: Path) -> VLM:
    return base.load(device="cpu", folder=str(folder))
