"""The interpreter that runs vLLM, which may have an environment of its own."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

PROCESS = Path(__file__).with_name("vllm_process.py")
SECONDS = 30  # for an interpreter to say which vLLM it has


@cache
def version_in(python: str) -> str | None:
    """vLLM's version in an interpreter's environment; None without it, which is reported when it is to answer."""
    try:
        asked = subprocess.run(
            [python, str(PROCESS), "--version"],
            env=environment_for(python),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None


def environment_for(python: str) -> dict[str, str]:
    """This process's variables for an interpreter, with no word to anybody outside."""
    environment = dict(os.environ) | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if python != sys.executable:  # the other environment has packages of its own
        for name in ("PYTHONPATH", "PYTHONHOME"):
            environment.pop(name, None)
    return environment
