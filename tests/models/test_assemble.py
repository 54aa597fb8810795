"""A LLaVA from its parts, against one that is built directly with the same tensors and against the parts alone."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from selectmm.commands.assemble import main
from selectmm.errors import UserError
from selectmm.models import llava
from selectmm.models.encode import Conversation, encode
from selectmm.pool.sample import Turn
from tests.tiny import save, text_sizes, tiny_clip, tokenizer_of

from transformers import (  # isort: skip
    AutoModelForCausalLM,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PhiConfig,
    PhiForCausalLM,
)

TALK = Conversation((Turn("user", "Which shape is it?"), Turn("assistant", "A square.")))
SEEN = Conversation(TALK.turns, (Image.new("RGB", (40, 30), (200, 30, 30)),))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``language`` (bfloat16) and ``tower`` (float32), and ``mm_projector.bin`` (float16)."""
    folder = tmp_path_factory.mktemp("parts")
    tokenizer = tokenizer_of(["<unk>", "<s>", "</s>"], "</s>", "<unk>")
    tokenizer.unk_token = "<unk>"  # and the padding, as Vicuna's
    torch.manual_seed(1)
    config = LlamaConfig(**text_sizes(tokenizer), bos_token_id=1, tie_word_embeddings=False)
    save(LlamaForCausalLM(config).to(torch.bfloat16), tokenizer, folder / "language")
    tiny_clip(folder / "tower", window=16)
    torch.save(projector(48, 32), folder / "mm_projector.bin")
    return folder


def projector(text: int, vision: int) -> dict[str, torch.Tensor]:
    shapes = {"0.weight": (text, vision), "0.bias": (text,), "2.weight": (text, text), "2.bias": (text,)}
    generator = torch.Generator().manual_seed(2)
    return {f"model.mm_projector.{n}": torch.randn(s, generator=generator).half() for n, s in shapes.items()}


def assembled(parts: Path, to: Path, **others: Path) -> Path:
    chosen = {"language": parts / "language", "tower": parts / "tower", "projector": parts / "mm_projector.bin"}
    main([*(f"--{name}={path}" for name, path in (chosen | others).items()), f"--to={to}"])
    return to


@pytest.fixture(scope="module")
def made(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assembled(parts, tmp_path_factory.mktemp("made") / "llava")


def test_it_computes_what_a_llava_of_the_same_tensors_computes(parts: Path, made: Path) -> None:
    vlm = llava.load(str(made), device="cpu", dtype="float32")
    language = AutoModelForCausalLM.from_pretrained(parts / "language", dtype=torch.float32)
    tower = CLIPVisionModel.from_pretrained(parts / "tower", dtype=torch.float32)
    rows = vlm.model.config.text_config.vocab_size
    image = vlm.processor.tokenizer.convert_tokens_to_ids("<image>")
    text = LlamaConfig(**language.config.to_dict() | {"vocab_size": rows})
    config = LlavaConfig(vision_config=tower.config, text_config=text, image_token_index=image, image_seq_length=4)
    direct = LlavaForConditionalGeneration(config).eval()
    direct.model.language_model.layers.load_state_dict(language.model.layers.state_dict())
    direct.model.language_model.norm.load_state_dict(language.model.norm.state_dict())
    direct.model.vision_tower.load_state_dict(tower.state_dict())
    old = {name.split("mm_projector.")[1]: w.float() for name, w in projector(48, 32).items()}
    for place, layer in (("0", "linear_1"), ("2", "linear_2")):
        module = direct.model.multi_modal_projector.get_submodule(layer)
        module.load_state_dict({"weight": old[f"{place}.weight"], "bias": old[f"{place}.bias"]})
    for inside, outside in (
        (direct.model.language_model.embed_tokens, language.model.embed_tokens),
        (direct.lm_head, language.lm_head),
    ):
        mean = outside.weight.double().mean(0).to(torch.bfloat16).float()  # the language model's dtype
        inside.weight.data = torch.cat([outside.weight, mean.expand(rows - len(outside.weight), -1)])
    batch = encode(vlm, [SEEN, TALK], side="right", limit=None)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    assert (batch["input_ids"] == image).sum() == 4
    with torch.no_grad():
        assert torch.equal(vlm.model(**inputs).logits, direct(**inputs).logits)


def test_without_an_image_it_is_the_language_model(parts: Path, made: Path) -> None:
    vlm = llava.load(str(made), device="cpu", dtype="float32")
    language = AutoModelForCausalLM.from_pretrained(parts / "language", dtype=torch.float32)
    ids = encode(vlm, [TALK], side="right", limit=None)["input_ids"]
    with torch.no_grad():
        whole, alone = vlm.model(ids).logits, language(ids).logits
    torch.testing.assert_close(whole[..., : alone.shape[-1]], alone)
    added = whole.softmax(-1)[..., alone.shape[-1] :]
    assert added.max() < 1.01 / alone.shape[-1]  # an added token is never likelier than one is on average


def test_the_configuration_is_llavas(parts: Path, made: Path) -> None:
    config = json.loads((made / "config.json").read_text())
    vlm = llava.load(str(made), device="cpu")
    tokenizer = vlm.processor.tokenizer
    before = len(AutoModelForCausalLM.from_pretrained(parts / "language").get_input_embeddings().weight)
    assert (config["vision_feature_layer"], config["vision_feature_select_strategy"]) == (-2, "default")
    assert (config["projector_hidden_act"], config["image_seq_length"]) == ("gelu", 4)
    assert config["image_token_index"] == tokenizer.convert_tokens_to_ids("<image>") == before
    assert config["text_config"]["pad_token_id"] == tokenizer.convert_tokens_to_ids("<pad>") == before + 1
    rows = config["text_config"]["vocab_size"]
    assert rows % 64 == 0 and 0 <= rows - before - 2 < 64
    assert config["dtype"] == "bfloat16" and vlm.model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert vlm.model.get_input_embeddings().weight.shape[0] == rows


def test_the_readme_names_the_parts(made: Path) -> None:
    words = (made / "README.md").read_text()
    assert "language model language (" in words and "tower tower (" in words and "mm_projector.bin (sha256 " in words


def test_the_same_parts_give_the_same_model_also_from_safetensors(parts: Path, made: Path, tmp_path: Path) -> None:
    save_file(projector(48, 32), tmp_path / "mm.safetensors")
    again = assembled(parts, tmp_path / "again", projector=tmp_path / "mm.safetensors")
    assert llava.load(str(again), device="cpu").identity == llava.load(str(made), device="cpu").identity


def test_a_projector_of_other_models_is_refused(parts: Path, tmp_path: Path) -> None:
    torch.save(projector(64, 32), tmp_path / "wide.bin")
    with pytest.raises(UserError, match=r"is of other models: its linear_1\.weight is \(64, 32\), .* need \(48, 32\)"):
        assembled(parts, tmp_path / "to", projector=tmp_path / "wide.bin")
    assert not (tmp_path / "to").exists()


def test_a_projector_with_other_tensors_or_code_in_it_is_refused(parts: Path, tmp_path: Path) -> None:
    torch.save({k: v for k, v in projector(48, 32).items() if not k.endswith("2.bias")}, tmp_path / "few.bin")
    with pytest.raises(UserError, match=r"whose tensors are .*mm_projector\.2\.bias; it has model\.mm_projector\.0\."):
        assembled(parts, tmp_path / "to", projector=tmp_path / "few.bin")
    torch.save({"model": Harmful(tmp_path / "ran")}, tmp_path / "code.bin")
    (tmp_path / "cut.bin").write_bytes((parts / "mm_projector.bin").read_bytes()[:900])
    for name in ("code.bin", "cut.bin"):
        with pytest.raises(UserError, match=r"holds more than tensors or is damaged, and nothing in it is run"):
            assembled(parts, tmp_path / "to", projector=tmp_path / name)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UserError, match=r"No projector at '.*none\.bin': give LLaVA's mm_projector\.bin"):
        assembled(parts, tmp_path / "to", projector=tmp_path / "none.bin")


class Harmful:
    """A pickle that makes a folder when it is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


def test_parts_that_are_something_else_are_refused(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"AutoModelForCausalLM cannot open '.*none': give a folder that holds such"):
        assembled(parts, tmp_path / "to", language=tmp_path / "none")
    with pytest.raises(UserError, match=r"is not a CLIPVisionModel: it lacks "):
        assembled(parts, tmp_path / "to", tower=parts / "language")
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 3}
    tokenizer = tokenizer_of(["<s>", "</s>"], "</s>", "<s>")
    phi = PhiForCausalLM(PhiConfig(**sizes, vocab_size=len(tokenizer)))
    save(phi, tokenizer, tmp_path / "phi")
    with pytest.raises(
        UserError, match=r"A PhiForCausalLM cannot be the language model of a LLaVA here: lm_head\.bias"
    ):
        assembled(parts, tmp_path / "to", language=tmp_path / "phi")


@pytest.mark.parametrize(
    ("part", "files", "content", "said"),
    [
        (
            "language",
            "*.safetensors",
            b"version https://git-lfs",
            "AutoModelForCausalLM cannot open .*such a model, or",
        ),
        ("language", "tokenizer.json", b"{}", r"AutoTokenizer cannot open .*such a tokenizer beside .*\(KeyError: "),
        ("language", "tokenizer*", None, "AutoTokenizer cannot open '.*language': give a folder that holds such a tok"),
        (
            "tower",
            "*processor_config.json",
            None,
            "CLIPImageProcessor cannot open '.*tower': .* such an image processor",
        ),
    ],
)
def test_parts_that_are_half_downloaded_are_one_sentence(
    part: str, files: str, content: bytes | None, said: str, parts: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(parts / part, tmp_path / part)
    for file in folder.glob(files):
        file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(UserError, match=said):
        assembled(parts, tmp_path / "to", **{part: folder})
    assert not (tmp_path / "to").exists()


def test_a_folder_that_is_not_empty_is_left_alone(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty; give --to a new folder, or empty this one\."):
        assembled(parts, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]
