"""Images from anywhere: pixels by hand, links, limits, and damaged files."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from selectmm.errors import UserError
from selectmm.pool.image import FORMATS, MAX_PIXELS, header_of, inside, large_alone, open_image, size_of
from tests.bad_input import examples


def png(width: int, height: int, depth: int, colour: int, rows: list[bytes], *more: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand from the specification; ``rows`` without their filter byte, ``more`` chunks before them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*one) for one in more) + data + chunk(b"IEND", b"")


def tiff(values: list[int | float], code: str, sample_format: int) -> bytes:
    """A grey TIFF of one line, by hand: sixteen-bit or wider whole numbers (1 unsigned, 2 signed) or floats (3)."""
    bits = 8 * struct.calcsize(code)
    content = struct.pack(f"<{len(values)}{code}", *values)
    short, long = 3, 4
    tags = [
        (256, long, len(values)), (257, long, 1), (258, short, bits), (259, short, 1), (262, short, 1),
        (273, long, 8), (277, short, 1), (278, long, 1), (279, long, len(content)), (339, short, sample_format),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(content)) + content + directory


def pixels(folder: Path, content: bytes) -> list[list[int]]:
    """The first line of an image, as `open_image` gives it."""
    (folder / "a.img").write_bytes(content)
    image = open_image(folder, "a.img")
    assert image.mode == "RGB"
    return np.asarray(image)[0].tolist()


def refused(folder: Path, content: bytes) -> str:
    (folder / "a.img").write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_image(folder, "a.img")
    assert str(folder / "a.img") in str(caught.value)
    return str(caught.value)


WIDE = [0, 1, 255, 256, 500, 32_768, 63_500, 65_535]
UPPER = [0, 0, 0, 1, 1, 128, 248, 255]  # their upper eight bits, by hand: 500 = 1·256 + 244, 63,500 = 248·256 + 12


def test_16_bit_grey_keeps_its_upper_eight_bits(tmp_path: Path) -> None:
    grey = [[level] * 3 for level in UPPER]
    assert pixels(tmp_path, png(8, 1, 16, 0, [struct.pack(">8H", *WIDE)])) == grey
    assert pixels(tmp_path, b"P5 8 1 65535\n" + struct.pack(">8H", *WIDE)) == grey
    assert pixels(tmp_path, tiff(WIDE, "H", 1)) == grey


def test_16_bit_colour_with_equal_channels_is_the_same_picture(tmp_path: Path) -> None:
    colour = struct.pack(">24H", *(value for value in WIDE for _ in range(3)))
    assert pixels(tmp_path, png(8, 1, 16, 2, [colour])) == [[level] * 3 for level in UPPER]


def test_32_bit_whole_numbers_are_taken_from_0_to_255_and_no_further(tmp_path: Path) -> None:
    assert pixels(tmp_path, tiff([0, 7, 255], "i", 2)) == [[0] * 3, [7] * 3, [255] * 3]
    for strange in ([0, 256], [-1, 5]):
        assert "32-bit whole numbers, and the file does not say which of them is white" in refused(
            tmp_path, tiff(strange, "i", 2)
        )


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.5, 200.0], [float("nan"), 1.0]])
def test_floats_are_refused(tmp_path: Path, values: list[float]) -> None:
    assert "numbers of mode F, and the file does not say which of them is white; save it in 8 bits" in refused(
        tmp_path, tiff(values, "f", 3)
    )


def test_eight_bits_are_what_they_were(tmp_path: Path) -> None:
    """A palette's colours with and without transparency, transparency by channel, ink: as convert("RGB") has them."""
    palette = (b"PLTE", bytes([10, 20, 30, 200, 100, 50]))
    clear = (b"tRNS", bytes([0, 255]))
    for chunks in ([palette], [palette, clear]):
        assert pixels(tmp_path, png(2, 1, 8, 3, [b"\0\1"], *chunks)) == [[10, 20, 30], [200, 100, 50]]
    assert pixels(tmp_path, png(2, 1, 8, 6, [bytes([1, 2, 3, 0, 4, 5, 6, 128])])) == [[1, 2, 3], [4, 5, 6]]
    assert pixels(tmp_path, png(2, 1, 8, 4, [bytes([9, 0, 8, 255])])) == [[9] * 3, [8] * 3]
    assert pixels(tmp_path, png(2, 1, 1, 0, [b"\x40"])) == [[0] * 3, [255] * 3]
    ink = io.BytesIO()
    Image.new("CMYK", (1, 1), (0, 255, 0, 0)).save(ink, "TIFF")
    assert pixels(tmp_path, ink.getvalue()) == [[255, 0, 255]]


def test_what_decoders_raise_is_a_sentence(tmp_path: Path) -> None:
    """Both were tracebacks once: Pillow raises ValueError for text or a colour profile that unpack to too much."""
    line = [bytes([1, 2, 3])]
    bomb = zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1))
    for chunk in ((b"zTXt", b"Comment\0\0" + bomb), (b"iCCP", b"p\0\0" + bomb)):
        assert "Decompressed data too large" in refused(tmp_path, png(1, 1, 8, 2, line, chunk))
    assert "set pool.bad_rows=drop" in refused(tmp_path, b"<html>404")


def test_a_postscript_file_starts_no_program(tmp_path: Path) -> None:
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    assert Image.open(io.BytesIO(page)).format == "EPS" and "EPS" not in FORMATS
    assert "cannot identify image file" in refused(tmp_path, page)


def test_the_limit_of_pixels_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flat(width: int) -> bytes:  # one bit a pixel
        return png(width, 10_000, 1, 0, [bytes(-(-width // 8))] * 10_000)

    assert MAX_PIXELS == 2 * (1024**3 // 4 // 3)  # where Pillow refuses by itself
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as other libraries set it
    assert "17,896 × 10,000 pixels are more than 178,956,970" in refused(tmp_path, flat(17_896))
    (tmp_path / "a.img").write_bytes(flat(17_895))
    assert header_of(tmp_path, "a.img") == (17_895, 10_000, "1")


def test_links_below_the_folder_are_followed(tmp_path: Path) -> None:
    red = png(1, 1, 8, 2, [bytes([255, 0, 0])])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "blob").write_bytes(red)
    root = tmp_path / "images"
    root.mkdir()
    (root / "coco").symlink_to(tmp_path / "elsewhere")  # a data set that lies on another disk
    (root / "1.png").symlink_to(tmp_path / "elsewhere" / "blob")  # the hub's cache
    for path in ("coco/blob", "1.png", str(root / "1.png")):
        assert open_image(root, path).getpixel((0, 0)) == (255, 0, 0)
        assert size_of(root, path) == len(red)


@pytest.mark.parametrize("path", ["../secret.png", "a/../../secret.png", "a/../b.png", "/etc/hostname", "/etc/../b"])
def test_words_that_leave_the_folder_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match=rf"Image path '{path}' leaves the image folder {tmp_path}; paths must"):
        inside(tmp_path, path)


@pytest.mark.parametrize("path", ["loop", "n" * 300, "d/" * 3000, "a\0b", "\ud800.png", "pipe", "folder", ""])
def test_what_is_no_file_is_missing(tmp_path: Path, path: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    assert size_of(tmp_path, path) is None
    with pytest.raises(UserError, match=r"^Image .* is missing; put it there, or set pool\.bad_rows=drop\.$") as caught:
        open_image(tmp_path, path)
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def encoded(kind: str) -> bytes:
    content = io.BytesIO()
    options = {"save_all": True, "append_images": [Image.new("RGB", (12, 9), "red")]} if kind == "GIF" else {}
    Image.linear_gradient("L").resize((12, 9)).convert("RGB").save(content, kind, **options)
    return content.getvalue()


KINDS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM", "AVIF")
WHOLE = {kind: encoded(kind) for kind in KINDS}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
@examples(300)
@given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=8),
    end=st.none() | st.integers(0, 2_000),
    tail=st.binary(max_size=16),
)
@example(kind="PNG", changes=[(16, 255), (17, 255)], end=None, tail=b"")  # a width of billions
def test_damaged_files_are_an_image_or_a_sentence(
    tmp_path: Path, kind: str, changes: list[tuple[int, int]], end: int | None, tail: bytes
) -> None:
    content = bytearray(WHOLE[kind])
    for place, value in changes:
        content[place % len(content)] = value
    (tmp_path / "a.img").write_bytes(bytes(content)[:end] + tail)
    try:
        image = open_image(tmp_path, "a.img")
    except UserError as problem:
        assert str(tmp_path / "a.img") in str(problem) and str(problem).isprintable()
    else:
        assert image.mode == "RGB" and image.width * image.height <= MAX_PIXELS


@pytest.mark.parametrize("kind", ["EPS", "ICO"])
def test_formats_that_are_not_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(kind))
    with pytest.raises(UserError, match=r"a\.png cannot be read \(cannot identify image file"):
        open_image(tmp_path, "a.png")


def test_large_images_wait_for_each_other_and_small_ones_for_nobody() -> None:
    hold = large_alone(
        np.array([[4_001, 4_000], [4_000, 4_000], [65_500, 65_500]], np.int32)
    )  # 16 million is not large
    with hold(0):
        assert hold(0) is hold(2) and hold(2).locked()
        with hold(1):
            pass
    assert not hold(2).locked()
    with large_alone(None)(7):
        pass
