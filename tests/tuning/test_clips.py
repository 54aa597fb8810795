"""Training on rows with clips: the loss is that of transformers' own forward on the processor's own tensors."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image
from pytorch_lightning.plugins.precision import DeepSpeedPrecision

from selectmm.models.encode import Conversation, encode
from selectmm.models.inputs import right_padded, to_device
from selectmm.pool.clip import Clip
from selectmm.pool.pool import Pool
from selectmm.pool.sharegpt import open_sharegpt
from selectmm.tuning.data import MicroBatches
from selectmm.tuning.job import Job, Task, read_rows, write_rows
from tests.clips import write_clip
from tests.families import FAMILIES
from tests.tuning.conftest import RECIPE, SINGLE, Bench

from transformers.image_utils import SizeDict  # isort: skip
from transformers.video_utils import load_video  # isort: skip

SAID = "It is a circle."
CLIPS = {"v/1.mp4": (12, (200, 30, 30)), "v/2.mp4": (5, (30, 30, 200))}  # frames, colour
ROWS = [("<video>Where to?", ["v/1.mp4"]), ("<image>What?", ["v/1.png"])]
ROWS += [("<image> and <video>?", ["v/1.png", "v/2.mp4"]), ("<video> or <video>?", ["v/2.mp4", "v/1.mp4"])]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """A clip, an image, both, and two clips."""
    for name, (frames, colour) in CLIPS.items():
        write_clip(tmp_path / name, frames=frames, colour=colour)
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(tmp_path / "v" / "1.png")
    answer = {"role": "assistant", "content": SAID}
    rows = [
        {
            "messages": [{"role": "user", "content": text}, answer],
            "images": [path for path in shown if path not in CLIPS],
            "videos": [path for path in shown if path in CLIPS],
        }
        for text, shown in ROWS
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return open_sharegpt(str(tmp_path / "rows.json"), str(tmp_path), "stop", str(tmp_path / "cache"), "turn", "source")


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_a_step_has_the_loss_of_transformers_own_forward_and_a_clip_is_decoded_once(
    name: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = FAMILIES[name].build(tmp_path / name)
    bench = Bench(instantiate(build), build, pool)
    processor = bench.vlm.processor
    processor.video_processor.size = SizeDict(shortest_edge=4 * 28 * 28, longest_edge=64 * 28 * 28)
    videos = [
        load_video(
            str(pool.image_root / path),
            backend="pyav",
            sample_indices_fn=partial(processor.video_processor.sample_frames, fps=2.0),
        )
        for _, shown in ROWS
        for path in shown
        if path in CLIPS
    ]
    start, end = bench.vlm.family.template.start, f"{SAID}<|im_end|>\n"
    marks = {"<video>": "<|vision_start|><|video_pad|><|vision_end|>"}
    marks |= {"<image>": "<|vision_start|><|image_pad|><|vision_end|>"}
    texts = [text.replace("<video>", marks["<video>"]).replace("<image>", marks["<image>"]) for text, _ in ROWS]
    tensors = processor(
        text=[f"{start}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{end}" for text in texts],
        images=[Image.open(pool.image_root / "v" / "1.png")] * 2,
        videos=[video for video, _ in videos],
        video_metadata=[metadata for _, metadata in videos],
        do_sample_frames=False,
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    lengths, answer = tensors["attention_mask"].sum(1), len(processor.tokenizer(end)["input_ids"])
    labels = torch.full_like(tensors["input_ids"], -100)
    for row, length in enumerate(lengths.tolist()):
        labels[row, length - answer : length] = tensors["input_ids"][row, length - answer : length]
    with torch.no_grad():
        expected = float(bench.vlm.model(**tensors, labels=labels).loss)

    decoded = []
    monkeypatch.setattr(
        Clip, "_decoded", lambda clip, at, own=Clip._decoded: decoded.append(clip.file) or own(clip, at)
    )
    once = replace(RECIPE, epochs=3, batch_size=4, micro_batch=4, dropout=0.0, max_length=512)
    losses = bench.tune(tmp_path / "plain", once)
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert len(decoded) == len(CLIPS), "one decoding a clip: not one a row, and not one an epoch"
    packed = bench.tune(tmp_path / "packed", replace(once, packing=True))
    assert packed == pytest.approx(losses, rel=1e-4) and len(decoded) == len(CLIPS)


def test_a_step_of_llava_onevision_has_the_loss_of_transformers_own_forward(pool: Pool, tmp_path: Path) -> None:
    build = {**FAMILIES["llava_onevision"].build(tmp_path / "model"), "frames": 3}
    bench = Bench(instantiate(build), build, pool)
    spaced = {12: [0, 5, 11], 5: [0, 2, 4]}  # of so many frames, by hand
    videos = [
        load_video(
            str(pool.image_root / path),
            backend="pyav",
            sample_indices_fn=lambda metadata, **_: np.array(spaced[metadata.total_num_frames]),
        )[0]
        for _, shown in ROWS
        for path in shown
        if path in CLIPS
    ]
    end = f"{SAID}<|im_end|>\n"
    texts = [f"{text[:7]}\n{text[7:]}" for text, _ in ROWS[:2]] + [text for text, _ in ROWS[2:]]
    image = Image.open(pool.image_root / "v" / "1.png")
    tensors = bench.vlm.processor(
        text=[f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{end}" for text in texts],
        images=[[image], [image]],
        videos=videos,
        do_sample_frames=False,
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    lengths, answer = tensors["attention_mask"].sum(1), len(bench.vlm.processor.tokenizer(end)["input_ids"])
    labels = torch.full_like(tensors["input_ids"], -100)
    for row, length in enumerate(lengths.tolist()):
        labels[row, length - answer : length] = tensors["input_ids"][row, length - answer : length]
    with torch.no_grad():
        expected = float(bench.vlm.model(**tensors, labels=labels).loss)
    once = replace(RECIPE, epochs=3, batch_size=4, micro_batch=4, dropout=0.0, max_length=512)
    losses = bench.tune(tmp_path / "plain", once)
    assert losses[0] == pytest.approx(expected, rel=1e-5) and losses[-1] < losses[0]
    assert bench.tune(tmp_path / "packed", replace(once, packing=True)) == pytest.approx(losses, rel=1e-4)


def test_seconds_between_frames_and_weights_of_rows_are_exact_in_half_precision(pool: Pool, tmp_path: Path) -> None:
    """Of Qwen2.5-VL, which spaces a clip's frames by them: in a feature, and in a training under DeepSpeed."""
    vlm = instantiate({**FAMILIES["qwen2_5_vl"].build(tmp_path / "model"), "fps": 3.0})
    vlm.processor.video_processor.size = SizeDict(shortest_edge=4 * 28 * 28, longest_edge=64 * 28 * 28)
    inner = vlm.model.model
    inner.config.vision_config.tokens_per_second = 250  # a clip of three seconds is as far apart as a long one
    data = MicroBatches(vlm, pool, np.array([[0, 3]]), 512, False, False, np.array([[1.93, 0.3]]))
    talks = [
        Conversation(pool[row].turns, tuple(pool.open_shown(one) for one in pool[row].images), shown=pool[row].images)
        for row in (0, 3)
    ]
    batch = encode(vlm, talks, side="right", limit=None)
    exact = right_padded(inner, batch)["position_ids"]
    rounded = {**batch, "second_per_grid_ts": batch["second_per_grid_ts"].bfloat16()}
    assert not torch.equal(right_padded(inner, rounded)["position_ids"], exact), "or there is nothing to lose"

    given = DeepSpeedPrecision("bf16-mixed").convert_input(data[0])
    assert given.inputs["pixel_values_videos"].dtype == torch.bfloat16 and given.weights == (1.93, 0.3)
    assert torch.equal(right_padded(inner, given.inputs)["position_ids"], exact)
    seen = to_device(batch, torch.nn.Linear(1, 1, dtype=torch.bfloat16))
    assert seen["pixel_values_videos"].dtype == torch.bfloat16
    assert torch.equal(right_padded(inner, seen)["position_ids"], exact)


def test_worker_processes_keep_frames_where_the_run_does(pool: Pool, tmp_path: Path) -> None:
    job = Job(Task(RECIPE, SINGLE, 1, 0), {}, str(pool.image_root), pool.frames_spelled)
    write_rows(tmp_path, pool, np.array([3, 0]))
    rows = read_rows(tmp_path, job)
    assert rows.frames == tmp_path.resolve() / "cache" / "clip-frames" and len(rows) == 2
    assert rows.open_clip("v/1.mp4").cache == rows.frames


def test_a_llava_learns_from_the_frames_of_a_clip_as_from_so_many_images(pool: Pool, tmp_path: Path) -> None:
    build = FAMILIES["llava_vicuna"].build(tmp_path / "llava")
    recipe = replace(RECIPE, epochs=1, batch_size=1, micro_batch=1, dropout=0.0, max_length=512)
    losses = Bench(instantiate({**build, "frames": 3}), {**build, "frames": 3}, pool).tune(
        tmp_path / "clip", recipe, rows=np.array([0])
    )
    _, width = write_frames(pool, [0, 5, 11])  # of 12, evenly spaced, by hand
    assert width == 64
    row = {"messages": [{"role": "user", "content": "<image><image><image>\nWhere to?"}, {"role": "assistant"}]}
    row["messages"][1]["content"] = SAID
    row["images"] = [f"frame-{number}.png" for number in (0, 5, 11)]
    (pool.image_root / "frames.json").write_text(json.dumps([row]))
    images = open_sharegpt(
        str(pool.image_root / "frames.json"), str(pool.image_root), "stop", str(tmp_path / "c"), "turn", "source"
    )
    assert Bench(instantiate(build), build, images).tune(tmp_path / "images", recipe) == losses


def write_frames(pool: Pool, places: list[int]) -> tuple[int, int]:
    """The frames as PNG files, read by transformers; returns their sides."""
    video, _ = load_video(str(pool.image_root / "v" / "1.mp4"), backend="pyav")
    for place in places:
        Image.fromarray(np.asarray(video[place])).save(pool.image_root / f"frame-{place}.png")
    return video.shape[1:3]
