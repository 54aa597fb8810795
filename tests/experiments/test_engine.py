"""vLLM's page follows from its record, and says what it holds."""

import json
from pathlib import Path

from experiments.studies.engine import RECORD, ROOT, make, mini, random_adapter, small_llava
from selectmm.tuning.adapter import load_adapter


def test_the_page_is_what_the_record_says(tmp_path: Path) -> None:
    page = make(tmp_path).read_text()
    assert page == (ROOT / "results" / "tables" / "engine.md").read_text()
    rows = json.loads(RECORD.read_text())["benchmarks"]
    assert {row["benchmark"] for row in rows} == {benchmark.name for benchmark in mini(tmp_path, 1).benchmarks}
    assert all(f"| {row['same']} of {row['items']} |" in page for row in rows)


def test_the_adapter_changes_the_model(tmp_path: Path) -> None:
    vlm = small_llava()
    random_adapter(vlm, tmp_path / "adapter")
    plain = {name: weight.clone() for name, weight in vlm.model.state_dict().items()}
    with load_adapter(vlm, tmp_path / "adapter"):
        weight = vlm.layers[0].self_attn.q_proj.get_base_layer().weight
        assert not weight.equal(plain["model.language_model.layers.0.self_attn.q_proj.weight"])
