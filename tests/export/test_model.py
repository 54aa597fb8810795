"""An exported folder is the model that `load_adapter` gives, for everybody else."""

from dataclasses import replace
from pathlib import Path

import torch

from selectmm.export.card import Origin
from selectmm.export.model import export_model
from selectmm.tuning.adapter import load_adapter
from tests.export.conftest import batch_of
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
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert type(model) is type(vlm.model)
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
