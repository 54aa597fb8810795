"""What a command's choices compose to."""

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from selectmm.paths import ROOT


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("run", list(overrides))
