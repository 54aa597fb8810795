"""Adapters and trained weights from elsewhere: each damaged or invented one is a sentence, and never exported."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from selectmm.errors import UserError
from selectmm.export.card import Origin
from selectmm.export.model import export_model
from selectmm.tuning.adapter import carry_adapter, identity_with
from selectmm.tuning.adapter_file import CONFIG, WEIGHTS, read_adapter
from selectmm.tuning.full import TRAINED
from tests.bad_input import examples
from tests.tuning.conftest import RECIPE, Bench

NAN, INF = float("nan"), float("inf")
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def trained(llava: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run of ours writes, LoRA and a projector in full."""
    folder = tmp_path_factory.mktemp("trained")
    llava.tune(folder, replace(RECIPE, epochs=0.1))
    return folder


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in (WEIGHTS, CONFIG):
        shutil.copy(trained / name, folder)
    return folder


def test_the_same_weights_at_another_scale_are_another_model(llava: Bench, adapter: Path) -> None:
    with carry_adapter(llava.vlm, adapter) as one:
        assert one.identity == identity_with(llava.vlm.identity, adapter)
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]}))
    with carry_adapter(llava.vlm, adapter) as other:
        assert other.identity != one.identity


def refused(bench: Bench, folder: Path, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught, carry_adapter(bench.vlm, folder):
        pass
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lora_alpha": NAN}, "field 'lora_alpha' is nan"),
        ({"lora_alpha": INF}, "field 'lora_alpha' is inf"),
        ({"lora_alpha": "8"}, "field 'lora_alpha' is '8', not a number from 0 to 1e.06"),
        ({"lora_alpha": -8}, "field 'lora_alpha' is -8, not a number from 0"),
        ({"lora_alpha": 1e30}, r"field 'lora_alpha' is 1e\+30, not a number"),
        ({"lora_alpha": 0}, "field 'lora_alpha' is 0, with which LoRA does nothing"),
        ({"lora_alpha": None}, "field 'lora_alpha' is None, not a number"),
        ({"r": -4}, "field 'r' is -4, not a whole number above 0"),
        ({"r": True}, "field 'r' is True, not a whole number above 0"),
        ({"r": 8}, "was made for another model than this llava"),
        ({"lora_dropout": 2.0}, "field 'lora_dropout' is 2.0, not a number from 0 to 1"),
        ({"peft_type": "IA3"}, "field 'peft_type' is 'IA3', not 'LORA'"),
        ({"peft_type": ["LORA"]}, r"field 'peft_type' is \['LORA'\], not 'LORA'"),
        (
            {"auto_mapping": {"parent_library": "os", "base_model_class": "x"}},
            "field 'auto_mapping' is .*no run of selectmm",
        ),
        ({"revision": "main"}, "field 'revision' is 'main', which no run of selectmm sets"),
        ({"use_dora": True}, "field 'use_dora' is True, which no run of selectmm sets"),
        ({"megatron_core": "os"}, "field 'megatron_core' is 'os', which no run of selectmm sets"),
        ({"init_lora_weights": 1}, "field 'init_lora_weights' is 1, which no run of selectmm sets"),
        ({"rank_pattern": {"q_proj": 64}}, "field 'rank_pattern' is .'q_proj': 64., which no run of selectmm sets"),
        ({"surprise": "x"}, "field 'surprise' is 'x', which no run of selectmm sets"),
        ({"surprise\x1b[31m": "x"}, r"field 'surprise\\x1b\[31m' holds the character"),
        ({"modules_to_save": ["lm_head"]}, "was made for another model than this llava"),
        ({"modules_to_save": "lm_head"}, "field 'modules_to_save' is 'lm_head', not null or a list of the projector's"),
        ({"modules_to_save": [["x"]]}, "field 'modules_to_save' is"),
        ({"modules_to_save": None}, "was made for another model than this llava"),
    ],
)
def test_a_configuration_that_no_run_writes_is_refused(
    llava: Bench, adapter: Path, change: dict[str, object], said: str
) -> None:
    content = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**content, **change}))
    refused(llava, adapter, said)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"r": 1' + "0" * 5000 + "}", "\x00", "{}"])
def test_what_is_no_configuration_is_refused(llava: Bench, adapter: Path, text: str) -> None:
    (adapter / CONFIG).write_text(text)
    refused(llava, adapter, r"adapter_config\.json (is not JSON|cannot be used)")


def test_where_lora_sits_the_weights_say_and_no_pattern_of_the_file_is_run(llava: Bench, adapter: Path) -> None:
    """A pattern may take years to match. Other machines' paths and other versions of peft change nothing either."""
    content = json.loads((adapter / CONFIG).read_text())
    passed = {"target_modules": "(x+x+)+y", "base_model_name_or_path": "/elsewhere", "peft_version": "9.0", "new": None}
    with carry_adapter(llava.vlm, adapter) as before:
        identity, weights = before.identity, {name: w.clone() for name, w in before.model.named_parameters()}
    (adapter / CONFIG).write_text(json.dumps({**content, **passed}))
    with carry_adapter(llava.vlm, adapter) as after:
        assert after.identity == identity
        assert {name: w.shape for name, w in after.model.named_parameters()} == {n: w.shape for n, w in weights.items()}
        assert all(torch.equal(weight, weights[name]) for name, weight in after.model.named_parameters())


def _first(tensors: Tensors, value: torch.Tensor) -> Tensors:
    return {**tensors, min(tensors): value}


ELSE = "was made for another model than this llava"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: _first(t, torch.full_like(t[min(t)], NAN)), "lora_A.weight' holds NaN or infinite numbers"),
        (lambda t: _first(t, torch.full_like(t[min(t)], INF)), "holds NaN or infinite numbers"),
        (lambda t: _first(t, t[min(t)].long()), "holds torch.int64, not float32, bfloat16, float16"),
        (lambda t: _first(t, t[min(t)].double()), "holds torch.float64, not float32, bfloat16, float16"),
        (lambda t: _first(t, t[min(t)][:, :-1].clone()), ELSE),
        (lambda t: _first(t, torch.zeros(())), ELSE),
        (lambda t: {name: w for name, w in t.items() if name != min(t)}, ELSE),
        (lambda t: {**t, "base_model.model.x.lora_A.weight": torch.zeros(4, 8)}, ELSE),
        (lambda t: {**t, "base_model.model.model.lora_A.weight": torch.zeros(4, 8)}, ELSE),
        (lambda t: {**t, "more": torch.zeros(1)}, ELSE),
        (lambda t: {}, ELSE),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    llava: Bench, adapter: Path, change: Callable[[Tensors], Tensors], said: str
) -> None:
    save_file(change(load_file(adapter / WEIGHTS)), adapter / WEIGHTS)
    refused(llava, adapter, said)


class Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def damaged(file: Path, mark: Path) -> list[bytes]:
    """Cut off at several places, claiming more than there is, other formats, a pickle that would write ``mark``."""
    whole = file.read_bytes()
    header = b'{"a":{"dtype":"F32","shape":[10000000000000],"data_offsets":[0,40000000000000]}}'
    claimed = len(header).to_bytes(8, "little") + header
    return [b"", whole[:4], whole[:100], whole[:-1], claimed, b"\xff" * 64, pickle.dumps(Trap(mark))]


def test_a_file_that_is_no_whole_safetensors_is_refused_and_no_pickle_runs(llava: Bench, adapter: Path) -> None:
    for content in damaged(adapter / WEIGHTS, adapter / "ran"):
        (adapter / WEIGHTS).write_bytes(content)
        refused(llava, adapter, r"adapter_model\.safetensors is not a whole safetensors file \(.+\); copy it again")
    assert not (adapter / "ran").exists()


def test_weights_of_a_model_trained_in_full_are_looked_at_as_well(llava: Bench, tmp_path: Path) -> None:
    model = llava.vlm.model
    own = {
        name: w.detach().clone() for name, w in model.named_parameters() if ".language_model." in name or "lm_h" in name
    }
    save_file(own, tmp_path / TRAINED)
    with carry_adapter(llava.vlm, tmp_path):
        pass
    whole = tmp_path / "whole"
    shutil.copy(tmp_path / TRAINED, whole)
    changes: list[tuple[Tensors, str]] = [
        (_first(own, torch.full_like(own[min(own)], NAN)), "holds NaN or infinite numbers"),
        (_first(own, own[min(own)].long()), "holds torch.int64, not float32"),
        ({name: w for name, w in own.items() if name != min(own)}, "were made for another model"),
        ({**own, "more": torch.zeros(1)}, "were made for another model"),
        (_first(own, own[min(own)][:-1].clone()), "were made for another model"),
    ]
    for tensors, said in changes:
        save_file(tensors, tmp_path / TRAINED)
        refused(llava, tmp_path, said)
    for content in damaged(whole, tmp_path / "ran"):
        (tmp_path / TRAINED).write_bytes(content)
        refused(llava, tmp_path, r"trained\.safetensors is not a whole safetensors file")
    assert not (tmp_path / "ran").exists()


def test_nothing_that_cannot_be_computed_with_is_exported(llava: Bench, adapter: Path, tmp_path: Path) -> None:
    content = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**content, "lora_alpha": NAN}))
    with pytest.raises(UserError, match="field 'lora_alpha' is nan"):
        export_model(llava.vlm, adapter, Origin(llava.build, None), tmp_path / "out")
    (adapter / CONFIG).write_text(json.dumps(content))
    save_file({name: torch.full_like(w, 1e30) for name, w in load_file(adapter / WEIGHTS).items()}, adapter / WEIGHTS)
    with pytest.raises(UserError, match=r"merged, .* holds NaN or infinite numbers in torch.float32, so nothing is"):
        export_model(llava.vlm, adapter, Origin(llava.build, None), tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@examples(100)
@given(st.data())
def test_any_change_of_a_configuration_is_read_or_a_sentence(adapter: Path, trained: Path, data: st.DataObject) -> None:
    content = json.loads((trained / CONFIG).read_text())
    content[data.draw(st.sampled_from(sorted(content)) | st.text(max_size=5))] = data.draw(JSON)
    (adapter / CONFIG).write_text(json.dumps(content))
    try:
        found = read_adapter(adapter)
        assert 0 < found.alpha <= 1e6 and found.rank > 0 and 0 <= found.dropout <= 1
    except UserError:
        pass
