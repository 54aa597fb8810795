"""Every choice and every experiment composes."""

from pathlib import Path

import pytest

from selectmm.paths import ROOT
from tests.command_line.configuration import composed

GROUPS = {path.name for path in (ROOT / "configs").iterdir() if path.is_dir()}
APART = {"method", "benchmark", "setting"}  # `tests.methods.test_configs` composes every method


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))


def test_every_choice_of_every_group_composes() -> None:
    """As many of them together as there are groups."""
    groups = {group: names for group in sorted(GROUPS - APART) if (names := choices(group))}
    for number in range(max(map(len, groups.values()))):
        chosen = {group: names[number % len(names)] for group, names in groups.items()}
        config = composed(*(f"{group}={name}" for group, name in chosen.items()))
        assert all(config[group] for group in chosen), chosen


def test_every_setting_composes() -> None:
    """Alone, as it chooses of the groups itself."""
    for name in choices("setting"):
        assert composed(f"setting={name}")["scale"], "a setting has no place of its own"


def test_every_benchmark_composes() -> None:
    names = choices("benchmark")
    config = composed(*(f"+benchmark@made.{name}={name}" for name in names))
    assert len(names) > 20 and all(config.made[name] for name in names)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_experiment_composes_and_opens_with_its_question(path: Path) -> None:
    name = path.relative_to(ROOT / "experiments").with_suffix("")
    assert composed(f"experiments={name}").experiment != "run"
    assert "?" in path.read_text().split("\nexperiment:")[0]


def test_no_folder_of_the_repository_shadows_a_key() -> None:
    # The repository is on Hydra's search path (for experiments/), so a folder's name would be read as a group's.
    keys = {key for key in composed() if key not in {path.name for path in (ROOT / "configs").iterdir()}}
    assert keys & {path.name for path in ROOT.iterdir() if path.is_dir()} == {"experiments"} & keys
