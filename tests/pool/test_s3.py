"""Images in a bucket of Amazon's protocol, served on this machine by moto: the same pool as of a folder."""

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from selectmm.errors import UserError
from selectmm.pool.image import open_image, size_of
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.root import root_of

NAMES = ("coco/1.png", "gqa/long/2.png", "loose.png")


@pytest.fixture(scope="module")
def service() -> Iterator[None]:
    """An empty service, whose address and keys clients find in the environment, as users give them."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield
    server.stop()


@pytest.fixture(scope="module")
def folder(service: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in a folder, and the same in ``s3://bucket/images``."""
    images = tmp_path_factory.mktemp("s3") / "images"
    bucket = fsspec.filesystem("s3")
    bucket.mkdir("bucket")
    for number, name in enumerate(NAMES):
        path = images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + number, 6), (number, 100, 0)).save(path)
        bucket.pipe_file(f"bucket/images/{name}", path.read_bytes())
    return images


def test_a_pool_of_a_bucket_is_that_of_a_folder(folder: Path, tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhat is this?"}, {"from": "gpt", "value": "A picture."}]
    rows = [{"id": name, "image": name, "conversations": turns} for name in [*NAMES, "coco/missing.png"]]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    ours, theirs = (
        open_llava_json(str(tmp_path / "rows.json"), images, "drop", tmp_path / str(number))
        for number, images in enumerate(("s3://bucket/images", str(folder)))
    )
    assert len(ours) == 3 and ours.health == theirs.health and ours.health.missing_image == [3]
    assert ours.fingerprint == theirs.fingerprint and ours.table.equals(theirs.table)
    for name in NAMES:
        assert ours.open_image(name).tobytes() == theirs.open_image(name).tobytes()


def test_an_empty_file_in_a_bucket_is_a_broken_image(folder: Path, tmp_path: Path) -> None:
    """S3 refuses to send it from its first byte on, as it refuses what it cannot send now."""
    bucket = fsspec.filesystem("s3")
    bucket.mkdir("other-bucket")
    bucket.pipe_file("other-bucket/0.png", b"")
    with pytest.raises(UserError, match=r"0\.png cannot be read \(cannot identify image file"):
        open_image(root_of("s3://other-bucket", tmp_path), "0.png")


def test_a_bucket_that_is_not_there_is_one_sentence(service: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^The images at s3://other/images cannot be listed \(.*bucket does not exist"):
        size_of(root_of("s3://other/images", tmp_path), "1.png")
