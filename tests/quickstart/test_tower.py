"""The tower's package is imported without what it does not need."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from selectmm.quickstart import tower

TIMM = """
try:
    import wandb
    FOUND = True
except ImportError:
    FOUND = False

def create_model(name, pretrained, **options):
    return FOUND
"""


@pytest.mark.parametrize("there", [False, True])
def test_the_tower_s_package_imports_no_tracker_of_which_nobody_asked(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text(TIMM)
    (tmp_path / "wandb.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("timm", "wandb"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # so that it is put back, or away, at the end
        monkeypatch.delitem(sys.modules, name)
    if there:
        import wandb
    assert tower._network() is there
    assert ("wandb" in sys.modules) is there
    import wandb  # as a tracker would, later

    assert Path(wandb.__file__).parent == tmp_path
