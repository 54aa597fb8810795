"""Where the images of a pool are kept: a folder, tar files, or an address that fsspec opens."""

from os.path import isdir, isfile
from pathlib import Path

from selectmm.errors import UserError
from selectmm.pool.address import Address, Remote, address_of
from selectmm.pool.bad import excerpt
from selectmm.pool.shards import COMPRESSED, INDEX, Member, Shards, shards_of

Root = Path | Shards | Address
File = Path | Member | Remote


def root_of(images: str | Path, cache: str | Path) -> Root:
    """What ``pool.images`` names.

    Args:
        images: a folder; tars (``/data/shards/*.tar``); or an address (``s3://bucket/images``).
        cache: root of the stage cache, where tars are indexed.

    Raises:
        UserError: it is not there, or it cannot be read from.
    """
    text = str(images)
    if "://" in text:
        return address_of(text)
    if text.endswith((".tar", *COMPRESSED)):
        return shards_of(text, Path(cache))
    if not isdir(text):
        raise UserError(
            f"There is no image folder {excerpt(text)}; set pool.images to the folder of the pool's images, to its tar "
            f"files ('folder/*.tar') or to an address (s3://…)."
        )
    return Path(text)


def spelled(root: Root) -> str:
    """The root as one text, for another process; see `root_spelled`."""
    if isinstance(root, Shards):
        return str(root.index.resolve())
    return root.address if isinstance(root, Address) else str(root.resolve())


def root_spelled(text: str) -> Root:
    """The root that `spelled` made this text of."""
    if "://" in text:
        return Address(text)
    return Shards(text, Path(text)) if text.endswith(f"/{INDEX}") and isfile(text) else Path(text)
