"""The experiment on clips, shrunken: planned and run with each of its methods on a tiny LLaVA and a few clips."""

import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from selectmm.flops.gpus import GPUS
from selectmm.instantiate import build
from selectmm.planning.plan import plan
from selectmm.quickstart.clips import embedded, rows
from tests.test_line import ROOT, one_run, overrides
from tests.tiny import tiny_llava

METHODS = ("random", "prism", "scalselect")
SOURCES = {"clips_motion": 8, "clips_choice": 8, "clips_color": 8}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    tiny_llava(folder / "llava")
    (folder / "pool").mkdir()
    rows.write_pool(folder / "pool", rows.Counts(8, 8, 8), beside=0)
    return folder


def test_it_is_planned_and_run(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(embedded.embedded, "suite_folder", lambda _cache: tmp_path / "images")  # takes long, not asked
    monkeypatch.setattr(rows, "HELD", {"direction": 4, "order": 4})
    given = [*overrides(place, "llava15_7b", "out"), "suite.only=[mini-MVBench]", "suite.limit=4", "model.frames=3"]
    given = ["experiments=video/embedded", *given, "recipe.max_length=512", "~pool.beside"]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        jobs = [build(compose("run", [*given, f"method={method}"]), method) for method in METHODS]
    for found in plan(jobs, GPUS["h100"], 256):
        assert len(found.stages) >= 3 and all(stage.state != "unknown" for stage in found.stages)
    records = {method: one_run(*given, f"method={method}") for method in METHODS}
    for method, record in records.items():
        assert record.method.name == method and record.experiment == "video"
        assert record.pool.per_source == SOURCES and record.subset.rows == 7
        (score,) = record.scores
        assert (score.benchmark, score.items, score.chance) == ("mini-MVBench", 4, 40)
    assert len({record.subset.fingerprint for record in records.values()}) == 3
    frames = list((place / "out" / "cache" / "clip-frames").glob("*.npy"))
    assert len(frames) == 16, "every clip is decoded once for all methods, passes and epochs"
    shutil.rmtree(place / "out")
