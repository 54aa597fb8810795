"""What MVBench's task code lacks for clips that lie in a suite's own folder."""

from collections.abc import Mapping
from pathlib import Path


def visual(doc: Mapping[str, str], asked: Mapping[str, str]) -> list[str]:
    """The item's clip, below the folder that the task names; MVBench's own looks below the hub's cache."""
    return [str(Path(asked["clips"]) / doc["video"])]


def target(doc: Mapping[str, object]) -> str:
    """The letter of the right option, which is what MVBench's rules compare an answer with."""
    return chr(65 + list(doc["candidates"]).index(doc["answer"]))
