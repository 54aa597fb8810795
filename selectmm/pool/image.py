"""Open one image of a pool as 8-bit RGB, whatever a file holds; what cannot be opened is one sentence.

A file from elsewhere is data: the formats that are read are those in `FORMATS`, its size is bounded by `MAX_PIXELS`,
and whatever a decoder raises about its content is a sentence that names the file.
"""

import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from selectmm.errors import UserError
from selectmm.pool.address import Address
from selectmm.pool.bad import excerpt
from selectmm.pool.passing import NotNow, may_pass, not_now, why
from selectmm.pool.root import File, Root

# Decoded inside Pillow, and the header says how large. EPS is not among them, because Pillow starts Ghostscript to read
# it; nor ICO, whose header may understate the picture's size.
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PPM", "PNG", "AVIF", "JPEG2000", "TGA", "TIFF", "WEBP")

# 512 MiB as RGB, where Pillow refuses a "decompression bomb". From half of it on Pillow warns; such an image is read,
# and whoever decodes images side by side takes the `LARGE` ones one at a time (`large_alone`).
MAX_PIXELS = 178_956_970
LARGE = 16_000_000  # pixels
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # odd tags; what matters raises

# Modes that Pillow turns into RGB without loss of range; the others have more than 8 bits a channel.
EIGHT_BIT = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})

Seen = TypeVar("Seen")


class Header(NamedTuple):
    """What the beginning of an image file says: sides in pixels, and Pillow's name of the channels."""

    width: int
    height: int
    mode: str


def large_alone(sides: np.ndarray | None) -> Callable[[int], AbstractContextManager]:
    """What to hold while image i is decoded beside others, of these widths and heights, [images, 2].

    `LARGE` images wait for each other, or a few of them side by side would fill the memory.
    """
    lock = Lock()
    large = None if sides is None else sides.prod(axis=1, dtype=np.int64) > LARGE
    return lambda image: lock if large is not None and large[image] else nullcontext()


class Broken(UserError):
    """An image or a clip is there and cannot be read.

    Attributes:
        why: the reason alone.
    """

    def __init__(self, message: str, why: str = "") -> None:
        """Take the whole sentence as ``message``, because workers hand over nothing else of an exception."""
        super().__init__(message)
        self.why = why or message


def broken(what: str, file: object, why: str) -> Broken:
    """The sentence for an image or a clip, as ``what`` says."""
    message = f"{what} {excerpt(file)} cannot be read ({excerpt(why)}); replace it, or set pool.bad_rows=drop."
    return Broken(message, why)


def inside(root: Root, relative: str) -> File | None:
    """The file ``relative`` of the image folder; refused if the path leads out of it.

    A stranger may have written the pool's file. What is looked at are the words of the path. Symbolic links below the
    root are followed wherever they lead: they are the user's own, and the way that many keep images
    (``images/coco -> /data/coco``).

    Args:
        relative: a path below the root, or an absolute one that begins with the root.

    Returns:
        Where it is, or would be; None if tars have no file of that name.

    Raises:
        UserError: the path is absolute and elsewhere, or has a part ``..``; or a tar was changed.
    """
    if ".." not in relative.split("/"):
        if not relative.startswith("/"):
            return root / relative if isinstance(root, Path) else root.file(relative)
        if isinstance(root, Path):
            for start in (root.absolute(), root.resolve()):
                if Path(relative).is_relative_to(start):
                    return root / Path(relative).relative_to(start)
    raise UserError(
        f"Image path '{excerpt(relative)}' leaves the image folder {root}; paths must stay inside it, without '..' "
        f"(links inside the folder are followed)."
    )


def size_of(root: Root, relative: str) -> int | None:
    """Bytes of an image file; None if there is no such file, for whatever reason (a loop of links, a name too long).

    Raises:
        UserError: see `inside`; or an address cannot be listed.
    """
    path = inside(root, relative)
    if path is None or isinstance(root, Address):
        return root.size(relative) if isinstance(root, Address) else None
    try:
        seen = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL, or half a character
        return None
    return seen.st_size if stat.S_ISREG(seen.st_mode) else None  # a pipe or a device would be waited for


def open_image(root: Root, relative: str) -> Image.Image:
    """Open ``relative`` under ``root`` as RGB, see `rgb`.

    Raises:
        UserError: it is missing, broken, too large, of a format that is not read, or its path leaves the image root.
        NotNow: it is at an address that cannot be read now.
    """
    path = found(root, relative)
    try:
        with _opened(path) as image:
            return rgb(image)
    except NotNow:
        raise
    except Exception as problem:  # decoders raise nearly everything: ValueError, struct.error, IndexError, …
        raise _unread(path, problem) from problem


def header_of(root: Root, relative: str) -> Header:
    """What an image file's header says; its pixels are not decoded.

    Raises:
        UserError: as `open_image`, but for what only decoding finds.
    """
    path = found(root, relative)
    try:
        with _opened(path) as image:
            return Header(image.width, image.height, image.mode)
    except NotNow:
        raise
    except Exception as problem:
        raise _unread(path, problem) from problem


def look(
    root: Root, relative: str, alone: Lock, see: Callable[[Image.Image], Seen]
) -> tuple[Header | None, Seen | None]:
    """What an image file's header says, and what is seen of its pixels as RGB; None for what cannot be read.

    The file is opened once. Among images that are looked at side by side, `LARGE` ones wait for each other.

    Args:
        alone: held while a `LARGE` image is decoded and seen.

    Raises:
        NotNow: the file could not be read for a reason that need not last, so that nothing is known of it.
        UserError: it is no longer there.
    """
    header, path = None, found(root, relative)
    with ExitStack() as held:
        try:
            with _opened(path) as image:
                header = Header(image.width, image.height, image.mode)
                if image.width * image.height > LARGE:
                    held.enter_context(alone)
                decoded = rgb(image)
        except NotNow:
            raise
        except Exception as problem:  # as in `open_image`
            if may_pass(problem):
                raise not_now(f"Image '{excerpt(relative)}' in {root}", why(problem)) from problem
            return header, None
        return header, see(decoded)


def rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB.

    Eight bits a channel are Pillow's own ``convert("RGB")``, as LLaVA does it: a palette's and an image's transparency
    is left out. 16-bit grey keeps its upper 8 bits, as Pillow does with 16-bit colour. 32-bit whole numbers are taken
    as they are if all are from 0 to 255.

    Raises:
        ValueError: the numbers have no known range: floats, or 32-bit numbers outside 0 to 255. Pillow would cut them
            off at 255, which makes most of them white.
    """
    if image.mode in EIGHT_BIT:
        return image.convert("RGB")
    values = np.asarray(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = values >> 8  # both formats fill 16 bits
    elif image.mode != "I" or values.min() < 0 or values.max() > 255:
        kind = "32-bit whole numbers" if image.mode == "I" else f"numbers of mode {image.mode}"
        raise ValueError(f"its pixels are {kind}, and the file does not say which of them is white; save it in 8 bits")
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


@cache
def _formats() -> tuple[str, ...]:
    """`FORMATS`, without those that this Pillow was built without (AVIF, WebP)."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def found(root: Root, relative: str, what: str = "Image") -> File:
    """Do as `inside`, for a file that is to be read.

    Raises:
        UserError: there is none. Of an address that is known when the file is fetched.
    """
    path = inside(root, relative)
    if path is None or not (isinstance(root, Address) or size_of(root, relative) is not None):
        raise UserError(missing(path or f"{root}: {relative}", what))
    return path


def missing(path: object, what: str = "Image") -> str:
    """The error that a file is not there."""
    return f"{what} {excerpt(path)} is missing; put it there, or set pool.bad_rows=drop."


@contextmanager
def _opened(path: File) -> Iterator[Image.Image]:
    with path.open("rb") as stream, Image.open(stream, formats=_formats()) as image:
        if image.width * image.height > MAX_PIXELS:  # some libraries switch Pillow's own limit off
            raise ValueError(f"{image.width:,} × {image.height:,} pixels are more than {MAX_PIXELS:,}")
        yield image


def _unread(path: File, problem: Exception) -> UserError:
    if isinstance(problem, FileNotFoundError):
        return UserError(missing(path))
    return broken("Image", path, str(problem) or type(problem).__name__)
