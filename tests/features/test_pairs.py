"""Image and text side by side, and images alone, against each tower run by itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPModel, CLIPProcessor, Dinov2Config, Dinov2Model
from transformers.models.bit.image_processing_bit import BitImageProcessor

from selectmm.errors import UserError
from selectmm.features import pairs
from selectmm.features.pairs import ClipPair, StatePair, pair_of
from selectmm.features.pictures import ImageEmbedding
from selectmm.models.encode import IGNORED
from selectmm.models.vlm import VLM
from tests.features.material import TALKS, Row, seen
from tests.tiny import tiny_clip

TEXT_ONLY = 1


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip(tmp_path_factory.mktemp("clip"), 20))


def units(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@torch.no_grad()
def test_clip_pairs_are_image_and_mean_over_turns(vlm: VLM, clip: str) -> None:
    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPProcessor.from_pretrained(clip)
    for halves in ("raw", "unit"):
        feature = ClipPair(clip, halves)
        assert feature.reads().nothing and not feature.reads().tensors
        found = feature.compute(seen(vlm, feature)).numpy()
        assert found.shape == (len(TALKS), 48) and not found[TEXT_ONLY, :24].any()
        for row, talk in enumerate(TALKS):
            ids = [torch.tensor([processor.tokenizer(turn.text)["input_ids"][:20]]) for turn in talk.turns]
            words = [model.text_projection(model.text_model(input_ids=i).pooler_output)[0].numpy() for i in ids]
            text = np.mean([units(one) for one in words] if halves == "unit" else words, 0)
            assert found[row, 24:] == pytest.approx(units(text) if halves == "unit" else text, abs=1e-5)
            if talk.images:
                pixels = processor.image_processor(talk.images[0], return_tensors="pt")["pixel_values"]
                image = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)[0].numpy()
                assert found[row, :24] == pytest.approx(units(image) if halves == "unit" else image, abs=1e-5)


@torch.no_grad()
def test_a_batch_takes_one_pass_of_each_tower(vlm: VLM, clip: str) -> None:
    feature, passes = ClipPair(clip), []
    model, _ = pairs._open(clip)
    towers = {"image": model.vision_model, "text": model.text_model}
    hooks = [tower.register_forward_hook(lambda *_, name=name: passes.append(name)) for name, tower in towers.items()]
    feature.compute(seen(vlm, feature))
    for hook in hooks:
        hook.remove()
    assert passes == ["image", "text"]


@torch.no_grad()
def test_state_pairs_are_what_enters_the_first_layer(vlm: VLM) -> None:
    feature = StatePair()
    found = feature.compute(seen(vlm, feature, limit=512)).numpy()
    scaled = StatePair("unit").compute(seen(vlm, StatePair("unit"), limit=512)).numpy()
    for number, talk in enumerate(TALKS):
        row, entered = Row.of(vlm, talk), []
        layer = vlm.model.model.language_model.layers[0]
        hook = layer.register_forward_pre_hook(
            lambda _m, given, named, entered=entered: entered.append(given[0] if given else named["hidden_states"]),
            with_kwargs=True,
        )
        vlm.model(**row.inputs)
        hook.remove()
        states, image = entered[0][0].numpy(), (row.ids == vlm.image_token_id).numpy()
        text = states[(row.words | (row.labels != IGNORED)).numpy()].mean(0)
        shown = states[image].mean(0) if image.any() else np.zeros(len(text))
        assert found[number] == pytest.approx(np.concatenate([shown, text]), abs=1e-5)
        expected = np.concatenate([units(shown) if image.any() else shown, units(text)])
        assert scaled[number] == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_questions_are_the_words_of_the_user_alone(vlm: VLM, clip: str) -> None:
    """As if nothing else were said."""
    for feature, everything in (
        (StatePair("unit", "questions"), StatePair("unit")),
        (ClipPair(clip, "unit", "questions"), ClipPair(clip, "unit")),
    ):
        asked = [talk for talk in TALKS if len([turn for turn in talk.turns if turn.role == "user"]) == 1]
        found, whole = (one.compute(seen(vlm, one, talks=asked, limit=512)) for one in (feature, everything))
        assert found.shape == whole.shape and not torch.allclose(found, whole, atol=1e-3)
    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPProcessor.from_pretrained(clip)
    for row, talk in enumerate(asked):
        (question,) = [turn.text for turn in talk.turns if turn.role == "user"]
        ids = torch.tensor([processor.tokenizer(question)["input_ids"][:20]])
        text = model.text_projection(model.text_model(input_ids=ids).pooler_output)[0].numpy()
        assert found[row, 24:].numpy() == pytest.approx(units(text), abs=1e-5)


def test_an_encoder_is_the_target_or_a_clip() -> None:
    assert pair_of("target", "raw") == StatePair("raw") and pair_of("a/b", "unit") == ClipPair("a/b", "unit")


@torch.no_grad()
def test_images_are_the_first_token_of_a_dino_or_the_embedding_of_a_clip(vlm: VLM, clip: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    dino = Dinov2Model(Dinov2Config(**sizes)).eval()
    processor = BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    dino.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    found = ImageEmbedding(str(tmp_path)).compute(seen(vlm, ImageEmbedding(str(tmp_path))))
    by_clip = ImageEmbedding(clip).compute(seen(vlm, ImageEmbedding(clip)))
    pair = ClipPair(clip).compute(seen(vlm, ClipPair(clip)))
    torch.testing.assert_close(by_clip, pair[:, :24], atol=1e-5, rtol=1e-4)
    assert not found[TEXT_ONLY].any()
    for row, talk in enumerate(TALKS):
        if talk.images:
            pixels = processor(talk.images[0], return_tensors="pt")["pixel_values"]
            assert found[row].tolist() == pytest.approx(dino(pixels).last_hidden_state[0, 0].tolist(), abs=1e-5)


def test_an_encoder_that_is_not_there_is_missed_in_one_sentence(vlm: VLM, tmp_path: Path) -> None:
    feature = ImageEmbedding(str(tmp_path))
    with pytest.raises(UserError, match=r"No image encoder at '.*': set method\.encoder to target, to the folder of"):
        feature.compute(seen(vlm, feature))
