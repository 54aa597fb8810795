"""Which items of a benchmark show the same picture."""

import hashlib
from collections.abc import Iterator, Sequence

from datasets import Dataset, Features, Image, Value


def picture_keys(docs: Dataset, rows: Sequence[int]) -> list[str]:
    """Hash each row's pictures, or its clip's name, to 16 hex characters; empty where it has none.

    Pictures are compared as they are stored (encoded bytes, or the path where a data set keeps paths), so nothing is
    decoded: POPE stores one photograph eighteen times, and 40,000 decodings would tell no more than their bytes.
    """
    columns = [name for name, feature in docs.features.items() if _shows(feature)]
    if not columns and isinstance(docs.features.get("video"), Value):  # the name of a file, in MVBench's rows
        return [hashlib.sha256(str(docs[row]["video"]).encode()).hexdigest()[:16] for row in rows]
    if not columns:
        return [""] * len(rows)
    stored = docs.select_columns(columns).cast(Features({name: _encoded(docs.features[name]) for name in columns}))
    return [_key(stored[row].values()) for row in rows]


def _shows(feature: object) -> bool:
    """An image, or a list of them."""
    return isinstance(getattr(feature, "feature", feature), Image)


def _encoded(feature: object) -> object:
    """The same feature, read without decoding."""
    return type(feature)(Image(decode=False)) if hasattr(feature, "feature") else Image(decode=False)


def _key(values: object) -> str:
    content = hashlib.sha256()
    pictures = list(_flat(values))
    for picture in pictures:
        content.update(picture["bytes"] or str(picture["path"]).encode())
    return content.hexdigest()[:16] if pictures else ""


def _flat(values: object) -> Iterator[dict[str, object]]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        elif value is not None:
            yield value
