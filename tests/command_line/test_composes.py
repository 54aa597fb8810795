"""Every choice and every experiment composes."""

from pathlib import Path

import pytest

from selectmm.paths import ROOT
from tests.command_line.configuration import composed

GROUPS = {path.name for path in (ROOT / "configs").iterdir() if path.is_dir()}
OF_THEIR_OWN = {"method"}  # `tests.methods.test_configs` composes every method


@pytest.mark.parametrize("group", sorted(GROUPS - OF_THEIR_OWN))
def test_every_choice_of_every_group_composes(group: str) -> None:
    for path in (ROOT / "configs" / group).glob("*.yaml"):
        choice = f"+benchmark@made={path.stem}" if group == "benchmark" else f"{group}={path.stem}"
        place = {"benchmark": "made", "setting": "scale"}.get(group, group)  # a setting has no place of its own
        assert composed(choice)[place]


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_experiment_composes_and_opens_with_its_question(path: Path) -> None:
    name = path.relative_to(ROOT / "experiments").with_suffix("")
    assert composed(f"experiments={name}").experiment != "run"
    assert "?" in path.read_text().split("\nexperiment:")[0]


def test_no_folder_of_the_repository_shadows_a_key() -> None:
    # The repository is on Hydra's search path (for experiments/), so a folder's name would be read as a group's.
    keys = {key for key in composed() if key not in {path.name for path in (ROOT / "configs").iterdir()}}
    assert keys & {path.name for path in ROOT.iterdir() if path.is_dir()} == {"experiments"} & keys
