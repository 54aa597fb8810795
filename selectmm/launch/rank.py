"""Where every rank begins: ``torchrun … -m selectmm.launch.rank MODULE FOLDER LAUNCH STARTER DIGEST``.

A rank whose torchrun is killed while it starts would wait for the others up to PyTorch's limit, thirty minutes by
default, and the next run would wait for it. So it watches from its first moment on, before it imports MODULE, which
takes seconds.
"""

import importlib
import os
import sys
import time
from threading import Thread

from selectmm.imports import uncollected


def end_with(torchrun: int, starter: int) -> None:
    """Let a thread end this process, without unwinding, once one of two other processes has ended.

    What a stage writes is whole or absent at any moment, as after a kill.

    Args:
        torchrun: the parent of this process. starter: the process that started the stage, on the same machine.
    """
    Thread(target=_watch, args=(torchrun, starter), daemon=True).start()


def _watch(torchrun: int, starter: int) -> None:
    while os.getppid() == torchrun and _alive(starter):
        time.sleep(1)
    os._exit(1)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    end_with(os.getppid(), int(sys.argv[4]))
    with uncollected():
        module = importlib.import_module(sys.argv[1])
    sys.exit(module.main(sys.argv[2:]))
