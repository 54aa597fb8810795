"""Without a network a checkpoint of the hub is refused at once, in one sentence."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from selectmm.errors import UserError
from selectmm.models import llava, network
from selectmm.models.network import check_hub

ASKED = []


@pytest.fixture(autouse=True)
def unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Online by its settings, with an empty cache, and a client that finds nobody."""

    def head(url: str, timeout: float) -> None:
        ASKED.append((url, timeout))
        raise ConnectionError("[Errno -2] Name or\nservice not known")

    ASKED.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(network, "get_session", lambda: SimpleNamespace(head=head))


def test_a_checkpoint_of_the_hub_is_refused_after_one_question_of_five_seconds() -> None:
    said = (
        r"^'llava-hf/llava-1\.5-7b-hf' is not in the hub's cache, and https://\S+ cannot be reached from this machine "
        r"\(\[Errno -2\] Name or service not known\): fetch it where there is a network \(hf download llava-hf/"
        r"llava-1\.5-7b-hf --local-dir FOLDER\), and give the folder as model\.path\.$"
    )
    with pytest.raises(UserError, match=said):
        llava.load("llava-hf/llava-1.5-7b-hf", device="cpu")
    assert ASKED == [(constants.ENDPOINT, 5.0)]


def test_nothing_is_asked_for_a_folder_or_a_cached_checkpoint_or_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_hub(str(tmp_path / "gone"), {})
    monkeypatch.setattr(network, "try_to_load_from_cache", lambda *_, **__: "/cache/config.json")
    check_hub("owner/name", {"revision": "main"})
    monkeypatch.undo()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check_hub("owner/name", {})
    assert ASKED == []


def test_a_hub_that_answers_anything_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "get_session", lambda: SimpleNamespace(head=lambda url, timeout: None))
    check_hub("owner/name", {})
