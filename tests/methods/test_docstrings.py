"""What a method says of itself."""

import importlib
import inspect

import pytest
import yaml

from selectmm.command_line.reading import ROOT

FILES = sorted(path for path in (ROOT / "configs/method").glob("*.yaml") if "_target_" in path.read_text())


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_every_method_says_what_several_images_in_a_row_mean_to_it(name: str) -> None:
    target = yaml.safe_load((ROOT / f"configs/method/{name}.yaml").read_text())["_target_"]
    module, _, kind = target.rpartition(".")
    method = getattr(importlib.import_module(module), kind)
    said = f"{inspect.getmodule(method).__doc__} {method.__doc__}".lower()
    assert "several images" in " ".join(said.split())
