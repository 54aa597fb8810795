"""One rank's entry, ``torchrun … -m selectmm.tuning.rank FOLDER``: it ends with torchrun from its first moment on.

A rank whose torchrun is killed while it starts would wait for the others up to PyTorch's limit, thirty minutes by
default, and the next run would wait for it. So it watches before it imports the rest, which takes seconds.
"""

import os
import sys
import time
from pathlib import Path
from threading import Thread


def end_with(parent: int) -> None:
    """Let a thread end this process, without unwinding, once ``parent`` is not its parent any more.

    What is written is whole or absent at any moment, as after a kill.
    """
    Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    end_with(os.getppid())
    from selectmm.tuning.worker import main

    sys.exit(main(Path(sys.argv[1])))
