"""Commands that do one thing on one device say so where more is asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from selectmm.commands import bench, references, verify_eval
from selectmm.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (bench.main, ["experiments=quickstart/ten_minutes"], "but bench times one; give one value of each key."),
        (verify_eval.main, ["engine=vllm"], "verify-eval answers with our own decoding on one device and takes no"),
        (references.main, ["engine=vllm"], "references answers with our own decoding on one device and takes no"),
    ],
)
def test_more_is_refused_in_a_sentence(
    command: Callable[[Sequence[str]], None], words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    with pytest.raises(UserError, match=said):
        command(words)
