"""Rendered clips: no frame gives an answer away, parts share nothing, and files do not depend on an encoder."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.quickstart.clips import mp4, rows
from selectmm.quickstart.clips.motion import KINDS, SIDE, Kind, motions

FEW = rows.Counts(color=6, motion=8, choice=8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_frames_without_their_order_do_not_give_the_answer(kind: Kind) -> None:
    made = list(islice(motions(kind, "held"), 24))
    for forth, back in zip(made[::2], made[1::2], strict=True):
        assert np.array_equal(forth.frames[::-1], back.frames) and not np.array_equal(forth.frames, back.frames)
        assert forth.answer != back.answer and {forth.answer, back.answer} <= set(forth.options)
        assert (forth.question, forth.options) == (back.question, back.options)
    assert forth.frames.shape == (8, SIDE, SIDE, 3)


def test_answers_are_what_the_frames_show() -> None:
    """Measured on pixels that differ from the corner's."""
    for kind in ("direction", "size", "existence"):
        for one in islice(motions(kind, "held"), 24):
            first, last = (np.argwhere((frame != frame[0, 0]).any(-1)) for frame in one.frames[[0, -1]])
            if kind == "direction":
                down, right = last.mean(0) - first.mean(0)
                expected = {abs(right) > abs(down): "right" if right > 0 else "left"}.get(True)
                assert one.answer == (expected or ("down" if down > 0 else "up"))
            else:
                words = {"size": ("grows", "shrinks"), "existence": ("appears", "disappears")}[kind]
                assert one.answer == words[len(last) < len(first)]
    for one in islice(motions("order", "held"), 24):
        colours = [tuple(frame[(frame != frame[0, 0]).any(-1)][0]) for frame in one.frames]
        assert len(set(colours[:4])) == len(set(colours[4:])) == 1 and colours[0] != colours[4]


def test_no_frame_of_the_benchmark_is_in_the_pool() -> None:
    held = {frame.tobytes() for one in rows.held_out() for frame in one.frames}
    pool = {frame.tobytes() for _, one, _, _ in rows._rows(rows.Counts()) for frame in one.frames}
    assert not held & pool and len(pool) == 1000


def test_guessing_blind_is_at_chance() -> None:
    items = rows.held_out()
    assert len(items) == 100
    assert 100 * np.mean([1 / len(one.options) for one in items]) == pytest.approx(40)
    letters = Counter(rows.letter(one) for one in items)
    assert letters == {"A": 40, "B": 40, "C": 10, "D": 10}
    for kind in KINDS:
        assert len(set(Counter(one.answer for one in items if one.kind == kind and kind != "order").values())) <= 1


def test_a_file_holds_every_pixel_and_has_one_size(tmp_path: Path) -> None:
    one, other = next(motions("order", "pool")), next(motions("size", "pool"))
    names = [mp4.write(motion.frames, 4, tmp_path) for motion in (one, other)]
    assert [(tmp_path / name).stat().st_size for name in names] == [mp4.BYTES] * 2
    with av.open(str(tmp_path / names[0])) as container:
        assert container.streams.video[0].average_rate == 4
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.array_equal(np.stack(frames), one.frames)
    assert mp4.write(one.frames, 4, tmp_path / "again") == names[0]
    assert (tmp_path / "again" / names[0]).read_bytes() == (tmp_path / names[0]).read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    with pytest.raises(ValueError, match=r"the clip has \d+,\d+ bytes, more than 16,376"):
        mp4.write(noise, 4, tmp_path)


def opened(folder: Path) -> Pool:
    path = rows.write_pool(folder, FEW, beside=0)
    return open_llava_json(str(path), str(folder / "images"), "stop", folder / "cache")


def test_the_pool_s_fingerprint_does_not_depend_on_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    pool, own = opened(tmp_path / "one"), mp4._encoded
    assert pool.counts() == {"clips_motion": 8, "clips_choice": 8, "clips_color": 6}
    assert pool.clips.all() and len(pool.images) == 16, "rows on colours share their clips with others"
    monkeypatch.setattr(mp4, "_encoded", lambda *asked: own(*asked) + (100).to_bytes(4, "big") + b"free" + bytes(92))
    assert opened(tmp_path / "other").fingerprint == pool.fingerprint
    asked = [pool[row].turns[0].text for row in np.flatnonzero(pool.sources == "clips_choice")]
    assert all(text.startswith("Question:") and text.endswith("Only give the best option.") for text in asked)


def test_the_embedded_pool_s_rows_stand_in_front_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def two(folder: Path, beside: int | None) -> Path:
        (folder / "pool.json").write_text('[{"id": "a"}, {"id": "b"}]')
        return folder / "pool.json"

    monkeypatch.setattr(rows.embedded, "write", two)
    entries = json.loads(rows.write_pool(tmp_path, FEW).read_text())
    assert entries[:2] == [{"id": "a"}, {"id": "b"}] and len(entries) == 24
    fewer = json.loads(rows.write_pool(tmp_path, FEW, beside=0).read_text())
    assert len(fewer) == 22 and [entry["video"] for entry in fewer] == [entry["video"] for entry in entries[2:]]
