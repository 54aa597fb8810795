"""Rows with clips: read from every format, decoded once, and what cannot be read is one sentence."""

import io
import json
import struct
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.export.subset import export_subset
from selectmm.methods.subset import Subset
from selectmm.pool import clip as module
from selectmm.pool.clip import open_clip
from selectmm.pool.doctor import Limit, diagnose
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Shown, Turn
from selectmm.pool.sharegpt import open_sharegpt
from tests.clips import write_clip

ANSWER = {"role": "assistant", "content": "To the right."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    write_clip(root / "v" / "1.mp4")
    write_clip(root / "v" / "2.mp4", colour=(30, 30, 200), frames=5)
    Image.new("RGB", (8, 6), "red").save(root / "v" / "1.png")
    return root


def opened(rows: list[object], folder: Path, to: Path, bad_rows: str = "stop") -> Pool:
    file = to / "rows.json"
    file.write_text(json.dumps(rows))
    return open_sharegpt(str(file), str(folder), bad_rows, str(to / "cache"), "turn", "source")


def test_clips_and_images_stand_where_their_marks_do_in_every_format(folder: Path, tmp_path: Path) -> None:
    asked = "First <video>\nthen <image> and <video>?"
    parts = [
        {"type": "text", "text": "First "},
        {"type": "video", "video": "v/1.mp4"},
        {"type": "text", "text": "then <image> and "},
        {"type": "video_url", "video_url": {"url": "v/2.mp4"}},
    ]
    rows = [
        {
            "messages": [{"role": "user", "content": asked}, ANSWER],
            "videos": ["v/1.mp4", "v/2.mp4"],
            "images": ["v/1.png"],
        },
        {"messages": [{"role": "user", "content": parts}, ANSWER], "images": ["v/1.png"]},
        {"messages": [{"role": "user", "content": "Where?<video>"}, ANSWER], "video": "v/1.mp4"},
        {"messages": [{"role": "user", "content": "Where?"}, ANSWER], "video": "v/1.mp4"},
        {"messages": [{"role": "user", "content": "<image>What?"}, ANSWER], "images": ["v/1.png"]},
    ]
    pool = opened(rows, folder, tmp_path)
    first = (Shown("v/1.mp4", 0, 6, False, True), Shown("v/1.png", 0, 11, True), Shown("v/2.mp4", 0, 16, True, True))
    assert pool[0].images == first and pool[0].turns[0] == Turn("user", "First then  and ?")
    assert pool[1].images[:2] == first[:2] and pool[1].images[2].path == "v/2.mp4"
    assert pool[2].images == pool[3].images == (Shown("v/1.mp4", video=True),) and pool[2].digest == pool[3].digest
    assert pool.images == ["v/1.mp4", "v/1.png", "v/2.mp4"] and pool.clips.tolist() == [True, False, True]
    assert pool.sizes.tolist() == [[64, 64], [8, 6], [64, 64]] and pool.health.unplaced == [3]
    said = [{"from": "human", "value": "Where?<video>"}, {"from": "gpt", "value": "To the right."}]
    (tmp_path / "llava.json").write_text(json.dumps([{"video": "v/1.mp4", "conversations": said}]))
    other = open_llava_json(str(tmp_path / "llava.json"), str(folder), "stop", tmp_path / "cache")
    assert other[0].digest == pool[2].digest


def test_a_clip_that_is_said_and_not_there_is_counted_and_the_text_stays(folder: Path, tmp_path: Path) -> None:
    """As LLaVA leaves it: in a row of text it may be HTML."""
    rows = [
        {"messages": [{"role": "user", "content": "<video>Where?"}, ANSWER], "video": clip} for clip in ("v/1.mp4", "")
    ]
    rows.append({"messages": [{"role": "user", "content": "<image>Is it <video>?"}, ANSWER], "images": ["v/1.png"]})
    pool = opened(rows, folder, tmp_path)
    assert [pool[row].turns[0].text for row in range(3)] == ["Where?", "<video>Where?", "Is it <video>?"]
    found = {finding.name: finding for finding in diagnose(pool, None, Limit(), "stop")}["<video> said without a clip"]
    assert (found.count, found.examples, found.weight) == (2, ["row 1", "row 2, v/1.png"], "look")


def test_clips_may_be_marked_as_images_are_in_a_row_of_clips_alone(folder: Path, tmp_path: Path) -> None:
    """So LLaVA-Video-178K has its rows."""
    said = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": "To the right."}]
    video178k = {"id": "x", "data_source": "0_30_s", "video": "v/1.mp4", "conversations": said}
    (tmp_path / "llava.json").write_text(json.dumps([video178k]))
    pool = open_llava_json(str(tmp_path / "llava.json"), str(folder), "stop", tmp_path / "cache")
    assert pool[0].images == (Shown("v/1.mp4", video=True),) and pool[0].turns[0] == Turn("user", "Where?")
    two = "First <image> then <image>?"
    rows = [
        {"messages": [{"role": "user", "content": text}, ANSWER], "videos": ["v/1.mp4", "v/2.mp4"]}
        for text in (two, two.replace("image", "video"))
    ]
    both = opened(rows, folder, tmp_path)
    assert both[0].digest == both[1].digest and not both.health.unplaced
    ended = [*rows[0]["messages"], {"role": "user", "content": "<image>And here?"}]
    left = opened([{"messages": ended, "videos": ["v/1.mp4", "v/2.mp4", "v/1.mp4"]}], folder, tmp_path)
    assert [shown.path for shown in left[0].images] == ["v/1.mp4", "v/2.mp4"], "the last question is left out"
    (tmp_path / "out").mkdir()
    for name in ("llama_factory", "ms_swift"):
        export_subset(both, Subset(np.array([0])), name, tmp_path / "out" / name)
        again = opened(read_back(tmp_path / "out" / name), folder, tmp_path)
        assert again[0].digest == both[1].digest
    for row, message in (
        ({**rows[0], "videos": ["v/1.mp4"]}, "has 2 <image> for 0 images; give as many of both"),
        ({**rows[1], "videos": ["v/1.mp4"]}, "has 2 <video> for 1 clip; give as many of both"),
        ({**rows[0], "images": ["v/1.png"]}, "has 2 <image> for 1 image; give as many of both"),
    ):
        with pytest.raises(UserError, match=message):
            opened([row], folder, tmp_path)


def read_back(folder: Path) -> list[object]:
    """The rows of an exported file, a list or a row on each line."""
    text = next(folder.glob("subset.json*")).read_text()
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


def test_a_part_of_a_clip_is_refused_and_other_fields_of_parts_are_counted(folder: Path, tmp_path: Path) -> None:
    """Qwen's parts may say which seconds of a clip are shown, and how many frames and pixels of them."""

    def row(**more: object) -> dict[str, object]:
        parts = [{"type": "video", "video": "v/1.mp4", **more}, {"type": "text", "text": "Where?"}]
        return {"messages": [{"role": "user", "content": parts}, ANSWER]}

    for name in ("video_start", "video_end"):
        with pytest.raises(
            UserError, match=rf"1 row with a part of a clip .* shows a part of a clip \('{name}'\), and"
        ):
            opened([row(), row(**{name: 1.5})], folder, tmp_path)
    rows = [row(fps=2.0, min_pixels=784, video_start=None), row(fps=1.0)]
    address = {"type": "image_url", "image_url": {"url": "v/1.png", "detail": "low"}}
    ends = [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}, {**address, "loss": False}]
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    rows.append({"messages": [{"role": "user", "content": [*ends, address]}, ANSWER], "system": system})
    pool = opened(rows, folder, tmp_path)
    counted = {"fps": 2, "min_pixels": 1, "cache_control": 1, "detail": 1, "loss": 1}
    assert pool.health.fields == {f"{name} of a part": rows for name, rows in counted.items()}
    assert pool[0].digest == pool[1].digest


def test_frames_are_those_asked_for_and_are_kept(folder: Path, tmp_path: Path) -> None:
    clip = open_clip(folder, "v/1.mp4", tmp_path / "frames")
    assert (clip.frames, clip.fps, clip.width, clip.height) == (12, 4.0, 64, 64)
    frames = clip.read([0, 6, 11, 11])
    assert frames.shape == (4, 64, 64, 3)
    red = (frames[..., 0].astype(int) - frames[..., 2]) > 80
    centres = [np.nonzero(one)[1].mean() for one in red]
    np.testing.assert_allclose(centres, [5.5, 52 * 6 // 11 + 5.5, 57.5, 57.5], atol=1.5)
    kept = list((tmp_path / "frames").glob("*.npy"))
    assert len(kept) == 1
    np.save(kept[0], frames + 1)
    assert np.array_equal(clip.read([0, 6, 11, 11]), frames + 1), "what is kept is not decoded again"


def test_frames_that_are_too_many_or_that_the_disk_has_no_room_for_are_decoded_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = open_clip(folder, "v/1.mp4", tmp_path / "frames")

    def full(file: BinaryIO, _frames: np.ndarray) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        found = clip.read([0, 6])
    monkeypatch.setattr(module, "KEPT", found.nbytes - 1)
    assert np.array_equal(clip.read([0, 6]), found)
    assert list((tmp_path / "frames").iterdir()) == []


def test_a_clip_that_is_cut_right_behind_its_header_is_a_bad_row(folder: Path, tmp_path: Path) -> None:
    """The header says how many frames there are, and not one follows."""
    with av.open(str(tmp_path / "whole.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: whole.index(b"mdat") + 4])
    with pytest.raises(
        UserError, match=r"^Clip .*cut\.mp4 cannot be read \(it ends after 0 of the 1 frames that its h"
    ):
        open_clip(tmp_path, "cut.mp4").picture()
    asked = [{"role": "user", "content": "<video>?"}, ANSWER]
    rows = [{"messages": asked, "video": name} for name in ("whole.mp4", "cut.mp4")]
    pool = opened(rows, tmp_path, tmp_path, "drop")
    assert len(pool) == 1 and pool.health.broken_image == [1]


def cut(whole: Path, share: float) -> Path:
    """A file beside it that holds only its beginning."""
    content, to = whole.read_bytes(), whole.with_stem(f"{whole.stem}-cut")
    to.write_bytes(content[: int(len(content) * share)])
    return to


def trimmed(whole: Path, frames: int) -> Path:
    """A file beside it with the same packets, of which the first frames are not played, as ``ffmpeg -c copy`` trims."""
    to = whole.with_stem(f"{whole.stem}-trimmed")
    with av.open(str(whole)) as source, av.open(str(to), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                before = int(frames / source.streams.video[0].average_rate / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - before, packet.dts - before, stream
                container.mux(packet)
    return to


@pytest.mark.parametrize("share", [0.75, 0.85])
@pytest.mark.parametrize("name", ["1.mp4", "1.avi"])
def test_a_clip_that_is_cut_behind_its_middle_is_a_bad_row(name: str, share: float, tmp_path: Path) -> None:
    """Its header comes first and is whole."""
    clip = write_clip(tmp_path / name, frames=60, fps=30)
    if name == "1.mp4":
        clip = trimmed(clip, 0)  # which moves the header to the front
    assert open_clip(tmp_path, clip.name).frames == 60
    asked = [{"role": "user", "content": "<video>?"}, ANSWER]
    rows = [{"messages": asked, "video": path.name} for path in (clip, cut(clip, share))]
    with pytest.raises(UserError, match=r"1 row with a broken image \(first: row 1, 1.*cut\."):
        opened(rows, tmp_path, tmp_path)
    assert len(opened(rows, tmp_path, tmp_path, "drop")) == 1


def test_a_trimmed_clip_has_the_frames_that_it_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_clip(tmp_path / "whole.mp4", frames=60, fps=30)
    name = trimmed(whole, 15).name
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].frames == 60, "or the header would be right"
    row = {"messages": [{"role": "user", "content": "<video>?"}, ANSWER], "video": name}
    clip = opened([row], tmp_path, tmp_path).open_clip(name)
    assert (clip.frames, clip.fps) == (45, 30.0)
    expected = open_clip(tmp_path, whole.name).read([15, 37, 59])
    assert np.array_equal(clip.read([0, 22, 44]), expected)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_keep", lambda *_: pytest.fail("it was counted before"))
        assert open_clip(tmp_path, name, clip.cache).frames == 45
    with pytest.raises(UserError, match=r"cut off after \d+ frames"):
        open_clip(tmp_path, cut(tmp_path / name, 0.8).name)


def turned(whole: Path) -> Path:
    """A file beside it that players turn by a quarter clockwise: ISO 14496-12's matrix in its track header says so."""
    content, to = whole.read_bytes(), whole.with_stem(f"{whole.stem}-turned")
    plain, quarter = ((65536, 0, 0, 0, 65536, 0), (0, 65536, 0, -65536, 0, 0))
    place = content.index(struct.pack(">6i", *plain), content.index(b"tkhd"))
    to.write_bytes(content[:place] + struct.pack(">6i", *quarter) + content[place + 24 :])
    return to


def test_a_clip_is_shown_as_a_player_turns_it(tmp_path: Path) -> None:
    """The square, which goes from left to right in the file, goes downwards; and the pool is another one."""
    whole = write_clip(tmp_path / "1.mp4", size=(96, 64))
    name = turned(whole).name
    stored, shown = (open_clip(tmp_path, one).read([0, 11]) for one in (whole.name, name))
    assert shown.shape == (2, 96, 64, 3)
    assert np.array_equal(shown, stored.transpose(0, 2, 1, 3)[:, :, ::-1])
    red = (shown[..., 0].astype(int) - shown[..., 2]) > 80
    np.testing.assert_allclose([np.nonzero(one)[0].mean() for one in red], [5.5, 89.5], atol=1.5)
    row = {"messages": [{"role": "user", "content": "<video>?"}, ANSWER], "video": name}
    pool = opened([row], tmp_path, tmp_path)
    looked = json.loads(next((tmp_path / "cache" / "pool-look").glob("*/stage.json")).read_text())
    assert looked["fingerprint"] == pool.fingerprint and looked["identity"]["turned"] == "upright"
    (tmp_path / "plain").mkdir()
    opened([{**row, "video": whole.name}], tmp_path, tmp_path / "plain")
    looked = json.loads(next((tmp_path / "plain" / "cache" / "pool-look").glob("*/stage.json")).read_text())
    assert "turned" not in looked["identity"]
    assert np.asarray(pool.open_image(name)).shape == (96, 64, 3)


class Failing(io.BytesIO):
    """Hands out what it holds until the system fails."""

    left = 1
    problem: Exception

    def read(self, size: int | None = -1) -> bytes:
        if self.left == 0:
            raise self.problem
        self.left -= 1
        return super().read(size)


@pytest.mark.parametrize("problem", [OSError(5, "Input/output error"), ConnectionResetError(), MemoryError()])
@pytest.mark.parametrize("reads", [None, 0, 1])
def test_a_clip_that_cannot_be_read_now_is_not_called_broken(
    problem: Exception, reads: int | None, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it cannot be opened, its header cannot be read, or what follows; as images."""
    own = Path.open

    def failing(path: Path, *more: object, **named: object) -> object:
        if path.name != "2.mp4":
            return own(path, *more, **named)
        if reads is None:
            raise problem
        stream = Failing(own(path, "rb").read())
        stream.left, stream.problem = reads, problem
        return stream

    row = {"messages": [{"role": "user", "content": "<video>?"}, ANSWER]}
    rows = [{**row, "video": f"v/{number}.mp4"} for number in (1, 2)]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing)
        with pytest.raises(UserError, match=r"^Clip .*2\.mp4 cannot be read now \(.*\)\. No row was left out for it"):
            opened(rows, folder, tmp_path, "drop")
    assert len(opened(rows, folder, tmp_path, "drop")) == 2


def test_numbers_of_ffmpegs_own_errors_are_verdicts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a damaged file its decoders say 'Operation not permitted', and not the system."""
    clip = open_clip(folder, "v/1.mp4")

    def refused(*_: object) -> None:
        raise av.error.PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(module, "_check_size", refused)
    with pytest.raises(UserError, match=r"1\.mp4 cannot be read \(.*Operation not permitted"):
        clip.read([0])


def test_a_clip_has_no_more_pixels_than_an_image_may_have(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "clip.mp4", 4)
    clip = open_clip(tmp_path, "clip.mp4")
    # Frames are looked at too: they may be larger than the header says.
    monkeypatch.setattr(module, "MAX_PIXELS", clip.width * clip.height - 1)
    for opened in (
        lambda: open_clip(tmp_path, "clip.mp4"),
        lambda: clip.read([0]),
    ):
        with pytest.raises(UserError, match=r"clip\.mp4 cannot be read \(.* pixels are more than "):
            opened()


def write_no_clips(folder: Path, to: Path) -> None:
    """A page, a playlist, a clip that is cut off, a sound, a clip without frames and one of a codec that nobody has."""
    (to / "page.mp4").write_text("<html>404")
    (to / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    (to / "cut.mp4").write_bytes((folder / "v" / "1.mp4").read_bytes()[:400])
    with av.open(str(to / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    with av.open(str(to / "empty.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 32
        container.start_encoding()
    known = write_clip(to / "known.mkv").read_bytes()
    (to / "nothing.mp4").write_bytes(b"")
    Image.new("RGB", (8, 8)).save(to / "picture.png")
    (to / "codec.mkv").write_bytes(known.replace(b"V_MPEG4/ISO/ASP", b"V_OTHER/ISO/ASP"))


def test_the_doctor_says_why_clips_cannot_be_read_and_which_are_not_there(folder: Path, tmp_path: Path) -> None:
    write_no_clips(folder, tmp_path)
    asked = [{"role": "user", "content": "<video>?"}, ANSWER]
    names = ["codec.mkv", "sound.mp4", "none.mp4", "nothing.mp4"]
    pool = opened([{"messages": asked, "video": name} for name in names], tmp_path, tmp_path, "keep")
    found = {finding.name: finding for finding in diagnose(pool, None, Limit(), "stop")}
    assert found["unreadable image or clip"].examples == [
        "row 0, codec.mkv: its codec is not one that this PyAV decodes; encode it as H.264",
        "row 1, sound.mp4: it has no pictures",
        "row 3, nothing.mp4: it is empty",
    ]
    assert found["unreadable image or clip"].advice.startswith("Replace these files, or set pool.bad_rows=drop")
    assert found["missing image or clip"].examples == ["row 2, none.mp4"]


def test_what_is_no_clip_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    write_no_clips(folder, tmp_path)
    whys = {"page.mp4": "Invalid data", "list.mp4": "Invalid data", "cut.mp4": "", "sound.mp4": "it has no pictures"}
    whys |= {
        "nothing.mp4": "it is empty",
        "picture.png": "it is no MP4, MOV, MKV, WebM or AVI, or damaged: Invalid arg",
    }
    whys |= {"empty.mp4": "it has no", "codec.mkv": "its codec is not one that this PyAV decodes; encode it as H.264"}
    for name, why in whys.items():
        with pytest.raises(UserError, match=rf"^Clip .*{name} cannot be read \(.*{why}.*\); replace it"):
            open_clip(tmp_path, name)
    with pytest.raises(UserError, match="is missing; put it there"):
        open_clip(tmp_path, "none.mp4")
    with pytest.raises(UserError, match="leaves the image folder"):
        open_clip(tmp_path, "../1.mp4")
    row = {"messages": [{"role": "user", "content": "<video>?"}, ANSWER]}
    rows = [{**row, "video": "v/1.mp4"}, {**row, "videos": ["v/1.mp4", "v/2.mp4"]}, {**row, "video": "v/none.mp4"}]
    with pytest.raises(
        UserError, match=r"1 row with more or fewer <video> than clips .* has 1 <video> for 2 clips; give as many of"
    ):
        opened(rows, folder, tmp_path)
    with pytest.raises(UserError, match=r"1 row with a missing image \(first: row 1, v/none\.mp4"):
        opened([rows[0], rows[2]], folder, tmp_path)
