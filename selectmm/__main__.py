"""``python -m selectmm``: Hydra composes a configuration, the door builds it, run.py runs it."""

import logging
import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from selectmm.errors import UserError
from selectmm.front import check_overrides, help_text

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="run")
def job(config: DictConfig) -> str:
    """One job of a run or a sweep; returns the path of its record."""
    from selectmm.door import build  # after Hydra has said what is wrong with the command: these imports take seconds
    from selectmm.run import run

    return str(run(build(config, HydraConfig.get().runtime.choices["method"])))


def main() -> None:
    """The command line. A `UserError` ends it with its sentence and status 1, Ctrl-C with status 130."""
    os.environ["SELECTMM_ROOT"] = str(ROOT)
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # otherwise Hydra hides where a bug of ours is
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_text(ROOT))
        return
    try:
        check_overrides(CONFIGS, sys.argv[1:])
        job()
    except UserError as problem:
        logging.getLogger("selectmm").debug("", exc_info=True)
        sys.exit(f"\n{problem}")
    except KeyboardInterrupt:
        print("\nStopped. What was finished is kept; the same command continues from here.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
