"""Arrays of numbers in files that others may have made: never a pickle, never more memory than the file has bytes."""

from math import prod
from pathlib import Path
from tokenize import TokenError

import numpy as np

from selectmm.cache.reading import Mismatch

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_UNREADABLE = (ValueError, TypeError, SyntaxError, TokenError, EOFError, RecursionError, MemoryError, OverflowError)


def load_numbers(file: Path) -> np.ndarray:
    """The whole or floating numbers of a ``.npy`` file, in its own shape and type.

    Raises:
        Mismatch: it cannot be read, is no such file, holds anything but numbers (pickles, text, complex numbers, true
            and false), or fewer than it claims: memory is taken only for what is there.
    """
    try:
        with file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            if version not in _HEADERS:
                raise Mismatch(f"version {version[0]}.{version[1]} of .npy is not that of plain numbers")
            shape, _, dtype = _HEADERS[version](stream)
            if dtype.kind not in "iuf":
                raise Mismatch(f"it holds {dtype.name}, not whole or floating numbers")
            if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize > file.stat().st_size - stream.tell():
                raise Mismatch(f"it claims {' × '.join(map(str, shape))} numbers, and has not that many bytes")
            stream.seek(0)
            return np.lib.format.read_array(stream, allow_pickle=False)
    except OSError as problem:
        raise Mismatch(problem.strerror or str(problem)) from problem
    except _UNREADABLE as problem:
        raise Mismatch(f"{problem}" or "it is cut off") from problem
