"""An exported folder is the model that `load_adapter` gives, for everybody else."""

import copy
import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from safetensors.torch import load_file

from selectmm.errors import UserError
from selectmm.export.card import Origin, card
from selectmm.export.model import export_model
from selectmm.models.vlm import VLM
from selectmm.quickstart.tower import TowerConfig
from selectmm.tuning.adapter import injected, load_adapter, lora_config, save_adapter
from tests.export.conftest import RECIPE_HERE, batch_of
from tests.families import FAMILIES
from tests.report.runs import run_of
from tests.tiny import save
from tests.tuning.conftest import Bench
from tests.tuning.test_finetune import assert_same, snapshot

from transformers import AutoModelForImageTextToText, AutoProcessor  # isort: skip


def test_transformers_loads_the_folder_and_computes_the_same_logits_bit_for_bit(
    tuned: tuple[Bench, Path], tmp_path: Path
) -> None:
    bench, adapter = tuned
    vlm, before = bench.vlm, snapshot(bench.vlm)
    export_model(vlm, adapter, Origin(bench.build, None), tmp_path / "out")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    model.requires_grad_(False)  # as ours is: where a weight may need a gradient PyTorch may multiply in another way
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert type(model) is type(vlm.model)
    names = load_file(tmp_path / "out" / "model.safetensors").keys()
    if vlm.family.name.startswith("llava"):  # CLIP's and SigLIP's weights are named so on the hub
        assert all(".vision_tower.vision_model." in name for name in names if ".vision_tower." in name)
    batch = batch_of(vlm, bench.pool)
    theirs = batch_of(replace(vlm, processor=processor), bench.pool)
    assert batch.keys() == theirs.keys()
    assert all(torch.equal(batch[name], theirs[name]) for name in batch)
    with torch.no_grad(), load_adapter(vlm, adapter) as adapted:
        expected = adapted.model(**batch).logits
        assert torch.equal(model(**theirs).logits, expected)
    with torch.no_grad():
        assert not torch.equal(vlm.model(**batch).logits, expected)  # the adapter does something
    assert_same(snapshot(vlm), before)
    assert model.dtype == vlm.model.dtype


def test_a_model_that_was_trained_in_full_is_written_like_any_other(bench: Bench, tmp_path: Path) -> None:
    recipe = replace(RECIPE_HERE, tune="full", rank=0, alpha=0, dropout=0.0, lr=1e-3)
    bench.tune(tmp_path / "tuned", recipe)
    export_model(bench.vlm, tmp_path / "tuned", Origin({}, None), tmp_path / "out")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    batch = batch_of(bench.vlm, bench.pool)
    with torch.no_grad(), load_adapter(bench.vlm, tmp_path / "tuned") as adapted:
        assert torch.equal(model(**batch).logits, adapted.model(**batch).logits)
    with torch.no_grad():
        assert not torch.equal(model(**batch).logits, bench.vlm.model(**batch).logits)


@pytest.fixture(scope="module")
def llava(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[VLM, Path]:
    """A LLaVA and an adapter of it."""
    folder = tmp_path_factory.mktemp("llava")
    bench.tune(folder, RECIPE_HERE)
    return bench.vlm, folder


def test_another_dtype_is_written_only_if_it_is_asked_for(llava: tuple[VLM, Path], tmp_path: Path) -> None:
    vlm, adapter = llava
    export_model(vlm, adapter, Origin({}, None), tmp_path / "same")
    export_model(vlm, adapter, Origin({}, None), tmp_path / "half", torch.bfloat16)
    same, half = (load_file(tmp_path / name / "model.safetensors") for name in ("same", "half"))
    assert {weight.dtype for weight in same.values()} == {torch.float32}
    assert same.keys() == half.keys()
    assert all(torch.equal(half[name], weight.bfloat16()) for name, weight in same.items())
    assert AutoModelForImageTextToText.from_pretrained(tmp_path / "half", dtype="auto").dtype == torch.bfloat16
    assert "stored in bfloat16 (evaluated in torch.float32, cast afterwards)" in page_of(tmp_path / "half")
    assert "stored in float32 (as it was evaluated)" in page_of(tmp_path / "same")


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_tied_embeddings_are_written_once_and_stay_tied(
    dtype: torch.dtype | None, bench: Bench, tmp_path: Path
) -> None:
    config = copy.deepcopy(bench.vlm.model.config)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    save(type(bench.vlm.model)(config), bench.vlm.processor, tmp_path / "base")
    vlm = instantiate(bench.build | {"path": str(tmp_path / "base")})
    replace(bench, vlm=vlm).tune(tmp_path / "adapter", RECIPE_HERE)
    export_model(vlm, tmp_path / "adapter", Origin({}, None), tmp_path / "out", dtype)
    names = load_file(tmp_path / "out" / "model.safetensors").keys()
    assert sum("embed_tokens" in name or "lm_head" in name for name in names) == 1
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", dtype="auto").eval()
    assert model.lm_head.weight is model.get_input_embeddings().weight
    if dtype is None:
        batch = batch_of(vlm, bench.pool)
        with torch.no_grad(), load_adapter(vlm, tmp_path / "adapter") as tuned:
            assert torch.equal(model(**batch).logits, tuned.model(**batch).logits)


def test_a_model_with_a_tower_of_ours_says_what_to_import(bench: Bench, tmp_path: Path) -> None:
    """Such as the embedded model."""
    config = copy.deepcopy(bench.vlm.model.config)
    config.vision_config, config.vision_feature_layer = TowerConfig(), -1
    save(type(bench.vlm.model)(config), bench.vlm.processor, tmp_path / "base")
    vlm = instantiate(bench.build | {"path": str(tmp_path / "base")})
    with injected(vlm, lora_config(vlm, RECIPE_HERE)) as wrapped:
        (tmp_path / "adapter").mkdir()
        save_adapter(wrapped, wrapped.state_dict(), tmp_path / "adapter")
    export_model(vlm, tmp_path / "adapter", Origin({}, None), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vision_config"]["model_type"] == (
        "selectmm_efficientnet_lite0"
    )
    assert "import selectmm.quickstart.tower\nfrom transformers import" in page_of(tmp_path / "out")
    assert "it loads only where selectmm is imported" in page_of(tmp_path / "out")
    assert AutoModelForImageTextToText.from_pretrained(tmp_path / "out")  # it is imported here


def test_generation_settings_that_only_warn_are_kept(llava: tuple[VLM, Path], bench: Bench, tmp_path: Path) -> None:
    """Vicuna's, and so LLaVA's own, have a temperature without sampling; transformers writes no *new* ones so."""
    _, adapter = llava
    base = shutil.copytree(bench.build["path"], tmp_path / "base")
    settings = json.loads((base / "generation_config.json").read_text()) | {"temperature": 0.9}
    (base / "generation_config.json").write_text(json.dumps(settings))
    export_model(instantiate(bench.build | {"path": str(base)}), adapter, Origin({}, None), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["temperature"] == 0.9


def test_a_quantised_base_is_refused(llava: tuple[VLM, Path], tmp_path: Path) -> None:
    vlm, adapter = llava
    vlm.model.config.quantization_config = {"quant_method": "awq"}
    try:
        with pytest.raises(UserError, match=r"The base is quantised.*open the base unquantised"):
            export_model(vlm, adapter, Origin({}, None), tmp_path / "out")
    finally:
        del vlm.model.config.quantization_config


def test_a_full_disk_leaves_no_folder_and_the_model_as_it_was(
    llava: tuple[VLM, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm, adapter = llava

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(vlm.model), "save_pretrained", full)
    before, there = snapshot(vlm), set(tmp_path.iterdir())
    with pytest.raises(UserError, match="out could not be written: No space left on device"):
        export_model(vlm, adapter, Origin({}, None), tmp_path / "out")
    assert set(tmp_path.iterdir()) == there
    assert_same(snapshot(vlm), before)


def test_an_adapter_of_another_model_is_refused(llava: tuple[VLM, Path], tmp_path: Path) -> None:
    _, adapter = llava
    other = FAMILIES["qwen2_vl"].load(tmp_path / "qwen")
    with pytest.raises(UserError, match="was made for another model than this qwen2_vl"):
        export_model(other, adapter, Origin({}, None), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("path", "hub_id", "base"),
    [
        ("llava-hf/llava-1.5-7b-hf@abc", "llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-7b-hf@abc"),
        (".", None, Path.cwd().name),
        (None, None, "selectmm's embedded model"),
    ],
)
def test_only_a_base_from_the_hub_is_linked(path: str | None, hub_id: str | None, base: str) -> None:
    origin = Origin({} if path is None else {"path": path}, None)
    assert (origin.hub_id, origin.base) == (hub_id, base)


def test_a_strangers_record_writes_no_card_of_its_own(bench: Bench) -> None:
    mine = run_of("prism", {"toy": 1.0}, options={"a": "b"})
    evil = "x`\n\n<img src=x>\n\n## Licence\r`\u2028 | |"
    theirs = replace(
        mine,
        method=replace(mine.method, name=evil),
        recipe=replace(mine.recipe, name=evil, options={evil: evil}),
        suite=replace(mine.suite, name=evil),
        scores=(replace(mine.scores[0], benchmark=evil),),
        provenance=replace(mine.provenance, command=evil, commit=evil),
    )
    page, same = (card(bench.vlm, Origin({}, one), torch.float32, False) for one in (theirs, mine))
    assert "<img" not in page and len(page.splitlines()) == len(same.splitlines())
    assert page.replace("\\|", "").splitlines()[-1].count("|") == 4


def page_of(folder: Path) -> str:
    return (folder / "README.md").read_text()
