"""The CLIP score on a tiny random CLIP against one row at a time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from selectmm.errors import UserError
from selectmm.features.clip import ClipScore
from selectmm.features.feature import Seen
from selectmm.features.loaded import counted
from selectmm.features.pairs import ClipPair
from selectmm.features.pictures import ImageEmbedding
from selectmm.features.sentences import QuestionEmbedding
from selectmm.features.store import identity_of
from selectmm.methods.check import invented_pool
from selectmm.models.encode import Conversation
from selectmm.models.vlm import VLM
from selectmm.pool.clip import open_clip
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Turn
from tests.clips import write_clip
from tests.features.material import TALKS, seen, store_of
from tests.tiny import tiny_clip

WINDOW = 20  # tokens of the tiny CLIP's text, so that a long conversation is cut


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip(tmp_path_factory.mktemp("clip"), WINDOW))


@torch.no_grad()
def one_by_one(checkpoint: str, talk: Conversation) -> float:
    """The cosine of the two towers' outputs, each run by itself, tokens cut by hand."""
    model, processor = CLIPModel.from_pretrained(checkpoint).eval(), CLIPProcessor.from_pretrained(checkpoint)
    text = "\n".join(turn.text for turn in talk.turns)
    ids = torch.tensor([processor.tokenizer(text)["input_ids"][:WINDOW]])
    words = model.text_projection(model.text_model(input_ids=ids).pooler_output)[0].double()
    pixels = processor.image_processor(talk.images[0], return_tensors="pt")["pixel_values"]
    image = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)[0].double()
    return float(words @ image / words.norm() / image.norm())


@torch.no_grad()
def test_scores_are_those_of_one_row_at_a_time(vlm: VLM, checkpoint: str) -> None:
    feature = ClipScore(checkpoint)
    assert feature.reads().nothing and not feature.reads().tensors, "the target model does not run"
    scores = feature.compute(seen(vlm, feature)).numpy()
    expected = [one_by_one(checkpoint, talk) if talk.images else 0.0 for talk in TALKS]
    assert scores == pytest.approx(expected, abs=1e-5)
    shown = [score for score, talk in zip(expected, TALKS, strict=True) if talk.images]
    assert len({round(score, 3) for score in shown}) == len(shown), "rows differ, or nothing is compared"


@torch.no_grad()
def test_a_clip_is_its_middle_frame_for_encoders_that_know_no_clips(vlm: VLM, checkpoint: str, tmp_path: Path) -> None:
    clip = open_clip(tmp_path, write_clip(tmp_path / "1.mp4", frames=5).name)
    middle = Image.fromarray(clip.read([2])[0])
    clips, images = (replace(TALKS[0], images=(one,)) for one in (clip, middle))
    for feature in (ClipScore(checkpoint), ClipPair(checkpoint), ImageEmbedding(checkpoint)):
        values = [
            feature.compute(Seen(vlm, counted(llava_with_clips(vlm), [0], [talk]), feature.reads(), 256))
            for talk in (clips, images)
        ]
        torch.testing.assert_close(*values)


def llava_with_clips(vlm: VLM) -> VLM:
    """The model, with a clip as two images if it takes none."""
    if vlm.family.template.video is not None:
        return vlm
    template = replace(vlm.family.template, video=2 * vlm.family.template.image)
    return replace(vlm, family=replace(vlm.family, template=template, frames=2))


@torch.no_grad()
def test_a_text_is_read_as_far_as_clip_reads(vlm: VLM, checkpoint: str) -> None:
    long, longer = (
        Conversation((Turn("user", "How much is one plus two? " * n), Turn("assistant", "3")), TALKS[0].images)
        for n in (9, 12)
    )
    scores = ClipScore(checkpoint).compute(seen(vlm, ClipScore(checkpoint), talks=[long, longer]))
    assert scores[0].item() == pytest.approx(scores[1].item(), abs=1e-6)


def test_rows_without_image_have_no_score_and_need_no_clip(vlm: VLM) -> None:
    nowhere = ClipScore("/there/is/no/clip")
    texts = [talk for talk in TALKS if not talk.images]
    assert nowhere.compute(seen(vlm, nowhere, talks=texts)).tolist() == [0.0]


def test_the_store_keeps_them_like_any_other_feature(vlm: VLM, pool: Pool, checkpoint: str, tmp_path: Path) -> None:
    feature = ClipScore(checkpoint)
    values = store_of(vlm, tmp_path).get(pool, [feature])[feature]
    assert values.shape == (len(pool),)
    assert np.array_equal(values == 0, pool.image_of < 0)


@pytest.mark.parametrize("where", ["/there/is/no/clip", "no-such-owner/no-such-clip"])
def test_a_missing_checkpoint_is_said_in_one_sentence(vlm: VLM, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no test waits for a network
    feature = ClipScore(where)
    with pytest.raises(UserError, match=rf"No CLIPModel checkpoint at '{where}': give a folder that holds one"):
        feature.compute(seen(vlm, feature))


def test_a_checkpoint_of_something_else_is_not_taken_for_a_random_clip(vlm: VLM, tmp_path: Path) -> None:
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    feature = ClipScore(str(tmp_path))
    with pytest.raises(UserError, match="CLIP"):
        feature.compute(seen(vlm, feature))


def test_another_encoder_in_the_same_folder_is_another_feature(tmp_path: Path) -> None:
    pool, folder = invented_pool(4), tmp_path / "clip"
    tiny_clip(folder, 20)

    def names() -> list[dict[str, object]]:
        kinds = (ClipScore(str(folder)), ClipPair(str(folder)), ImageEmbedding(str(folder)))
        return [identity_of(one, pool, "model", 100) for one in (*kinds, QuestionEmbedding(str(folder)))]

    before = names()
    assert names() == before
    weights = CLIPModel.from_pretrained(folder)
    weights.logit_scale.data += 1
    weights.save_pretrained(folder)
    assert all(one != other for one, other in zip(names(), before, strict=True))


@pytest.mark.parametrize(
    ("feature", "file", "content"),
    [
        (ImageEmbedding, "model.safetensors", b"version https://git-lfs.github.com/spec/v1"),
        (QuestionEmbedding, "model.safetensors", b""),
        (QuestionEmbedding, "tokenizer.json", b"{}"),
    ],
)
def test_an_encoder_that_is_half_downloaded_is_one_sentence(
    feature: type, file: str, content: bytes, vlm: VLM, pool: Pool, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    tiny_clip(folder, WINDOW)
    (folder / file).write_bytes(content)
    with pytest.raises(
        UserError, match=f"^The encoder '{folder}' of {feature.__name__} cannot be read or does not work"
    ):
        store_of(vlm, tmp_path / "cache").get(pool, [feature(str(folder))])
