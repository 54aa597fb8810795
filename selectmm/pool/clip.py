"""Open one clip of a pool: what its header says, and frames of it as 8-bit RGB, decoded by FFmpeg through PyAV.

A file from elsewhere is data: containers that are read are those in `CONTAINERS`, none of which can name another file,
and whatever the decoder raises about its content is a sentence that names the file.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import get_ident
from typing import BinaryIO, cast

import av
import numpy as np
from PIL import Image

from selectmm.cache.no_links import open_new
from selectmm.errors import UserError
from selectmm.pool.bad import excerpt
from selectmm.pool.image import MAX_PIXELS, broken, found, missing
from selectmm.pool.passing import may_pass, not_now, why
from selectmm.pool.root import File, Root

KEPT = 256 * 2**20  # bytes of a clip's frames up to which they are kept: 97 frames of 720p

CONTAINERS = "mov,matroska,avi"  # FFmpeg's names: MP4 and MOV, MKV and WebM, AVI


@dataclass(frozen=True)
class Clip:
    """A clip that is there.

    Attributes:
        frames: how many it has. fps: how many of them a second, on average. width, height: pixels, before frames are
            turned as the file says.
        cache: a folder that frames are kept in once they are decoded, see `KEPT`; None to decode them each time.
    """

    file: File
    frames: int
    fps: float
    width: int
    height: int
    cache: Path | None = None

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames at these places, ascending from 0 (one may repeat); [frames, height, width, 3] of uint8.

        They are upright: a phone stores what it films as its sensor sees it, and says how a player turns it.

        Raises:
            UserError: the file ends before, or cannot be decoded.
            NotNow: it cannot be read for a reason that need not last.
        """
        # Under their first names, frames were once kept as they are stored.
        kept = None if self.cache is None else self.cache / f"{_name(self.file, indices)}-upright.npy"
        if kept is not None and kept.exists():
            return np.load(kept)
        found = self._decoded(indices)
        if kept is not None and found.nbytes <= KEPT:
            _keep(found, kept)
        return found

    def picture(self) -> Image.Image:
        """The middle frame, for those who look at pictures alone.

        Raises:
            UserError: as `read`.
        """
        return Image.fromarray(self.read([self.frames // 2])[0])

    def checked_picture(self) -> Image.Image:
        """The `picture` of a clip that has all its frames: one that is cut off may have the middle and not the end.

        Raises:
            UserError: as `read`.
        """
        return Image.fromarray(self.read([self.frames // 2, self.frames - 1])[0])

    def is_turned(self) -> bool:
        """Whether its frames are stored otherwise than they are shown; the first one is decoded.

        Raises:
            UserError: as `read`.
        """
        with _opened(self.file) as container:
            return any(_quarters(frame) for frame in islice(container.decode(video=0), 1))

    def _decoded(self, indices: Sequence[int]) -> np.ndarray:
        wanted, found, place = set(map(int, indices)), {}, -1
        with _opened(self.file) as container:
            for place, frame in enumerate(container.decode(video=0)):
                if place in wanted:
                    _check_size(self.file, frame.width, frame.height)  # a frame may be larger than the header says
                    found[place] = np.rot90(frame.to_ndarray(format="rgb24"), _quarters(frame))
                if len(found) == len(wanted):
                    break
        if len(found) < len(wanted):
            fault = f"it ends after {place + 1:,} of the {self.frames:,} frames that its header names; fetch it again"
            raise broken("Clip", self.file, fault)
        return np.stack([found[int(index)] for index in indices])


def open_clip(root: Root, relative: str, cache: Path | None = None) -> Clip:
    """The clip at ``relative`` below ``root``; its header is read, its pixels are not decoded.

    Raises:
        UserError: it is missing, of another format, without frames or of a codec that is not decoded here, or its path
            leaves the root.
        NotNow: it cannot be read for a reason that need not last.
    """
    file = found(root, relative, "Clip")
    with _opened(file) as container:
        if not container.streams.video:
            raise broken("Clip", file, "it has no pictures")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise broken("Clip", file, "its codec is not one that this PyAV decodes; encode it as H.264")
        _check_size(file, stream.width, stream.height)
        rate = stream.average_rate or stream.guessed_rate
        frames = stream.frames
        if not frames or _trimmed(container):  # some headers do not say
            frames = _counted(container, file, cache)
        if not frames:
            raise broken("Clip", file, "it has no frames")
        return Clip(file, frames, float(rate) if rate else 24.0, stream.width, stream.height, cache)


def _quarters(frame: av.VideoFrame) -> int:
    """Quarter turns by which a player turns the frame, counterclockwise."""
    return round(frame.rotation / 90) % 4


def _trimmed(container: av.container.InputContainer) -> bool:
    """Whether an MP4 plays less than it holds.

    Programs that trim without decoding write an edit list: the clip's duration follows it, its number of frames not.
    """
    stream = container.streams.video[0]
    if "mp4" not in container.format.name or not (stream.duration and stream.time_base and stream.average_rate):
        return False
    return abs(stream.duration * stream.time_base * stream.average_rate - stream.frames) >= 1


def _counted(container: av.container.InputContainer, file: File, cache: Path | None) -> int:
    """Frames that are decoded, counted once for each state of the file if there is a folder to keep the number in.

    Raises:
        UserError: the file is cut off.
    """
    kept = None if cache is None else cache / f"{_name(file, [])}.npy"
    if kept is not None and kept.exists():
        return int(np.load(kept))
    frames = 0
    for packet in container.demux(video=0):
        if packet.is_corrupt:
            raise broken("Clip", file, f"it is cut off after {frames:,} frames")
        frames += len(packet.decode())
    if kept is not None:
        _keep(np.array(frames), kept)
    return frames


def _name(file: File, indices: Sequence[int]) -> str:
    state = file.stat()
    named = file.resolve() if isinstance(file, Path) else file
    asked = [str(named), state.st_size, state.st_mtime_ns, list(map(int, indices))]
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:32]


def _check_size(file: File, width: int, height: int) -> None:
    """A frame has no more pixels than an image may have.

    Raises:
        UserError: it has.
    """
    if width * height > MAX_PIXELS:
        raise broken("Clip", file, f"{width:,} × {height:,} pixels are more than {MAX_PIXELS:,}")


def _keep(frames: np.ndarray, to: Path) -> None:
    """Write them whole or not at all; a full disk only means that they are decoded again."""
    beside = to.with_name(f".{to.stem}-{os.getpid()}-{get_ident()}.npy")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with open_new(beside) as file:
            np.save(file, frames)
        beside.replace(to)
    except OSError:
        with suppress(OSError):
            beside.unlink()


def _container(file: File, stream: BinaryIO) -> av.container.InputContainer:
    try:
        return cast(av.container.InputContainer, av.open(stream, options={"format_whitelist": CONTAINERS}))
    except av.FFmpegError as problem:
        if isinstance(problem, MemoryError):
            raise
        told = f"it is no MP4, MOV, MKV, WebM or AVI, or damaged: {problem.strerror}"
        raise broken("Clip", file, told) from problem


@contextmanager
def _opened(file: File) -> Iterator[av.container.InputContainer]:
    try:
        with file.open("rb") as stream:
            if not stream.read(1):
                raise broken("Clip", file, "it is empty")
            stream.seek(0)
            with _container(file, stream) as container:
                yield container
    except UserError:
        raise
    except FileNotFoundError as problem:
        raise UserError(missing(file, "Clip")) from problem
    except Exception as problem:  # FFmpeg's errors, and what bindings raise about odd headers
        content = isinstance(problem, av.FFmpegError) and not isinstance(problem, MemoryError)  # whatever its number
        if may_pass(problem) and not content:
            raise not_now(f"Clip {excerpt(file)}", why(problem)) from problem
        raise broken("Clip", file, str(problem) or type(problem).__name__) from problem
