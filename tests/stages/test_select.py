"""The second verb with every method on a tiny LLaVA, with one of each kind on the other models, on one's own pool."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.features.onepass import Pass
from selectmm.instantiate import build
from selectmm.methods.method import Method
from selectmm.methods.subset import Subset, coverage_lines
from selectmm.models.vlm import VLM
from selectmm.stages.select import Selection, select, select_rows
from selectmm.tuning.recipe import Strategy
from tests.families import FAMILIES
from tests.test_line import ROOT, overrides
from tests.tiny import tiny_llava, tiny_qwen2_vl, write_pool

KINDS = ["ifd", "grand", "prism", "scalselect", "magic", "coincide"]  # one per thing that a method reads
METHODS = ["length", "perplexity", "el2n", "ifd", "grand", "prism", "scalselect", "tive", "dataprophet", "rds_plus"]
METHODS += ["visnec", "semdedup", "coincide", "icons", "d2_pruning", "datatailor", "adapt_inf", "magic"]
METHODS += ["self_sup method.keep=hard", "less", "presel", "xmas", "dics", "once_select", "self_filter", "vds3"]
WARMED = {"tive", "grand", "icons", "adapt_inf", "less", "presel", "xmas", "dics"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selection")
    tiny_llava(folder / "llava")
    tiny_qwen2_vl(folder / "qwen2_vl")
    for family in ("llava_phi2", "llava_qwen25", "qwen2_5_vl", "qwen3_vl", "internvl3", "llava_onevision"):
        FAMILIES[family].make(folder / family)
    write_pool(folder / "pool", rows=24)
    return folder


def experiment_of(place: Path, model: str, *arguments: str) -> Experiment:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("run", [*overrides(place, model, model), "recipe.max_length=1024", *arguments])
    method = next(a.split("=")[1] for a in arguments if a.startswith("method="))
    return build(config, method)


@cache
def opened(place: Path, model: str) -> VLM:
    """Once for all tests: a selection leaves a model as it was."""
    return experiment_of(place, model, "method=random").open_model()


def selected(place: Path, model: str, *arguments: str) -> Selection:
    experiment = experiment_of(place, model, *arguments)
    return select(experiment, experiment.open_pool(), opened(place, model))


@pytest.fixture(autouse=True, scope="module")
def _root() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELECTMM_ROOT", str(ROOT))
        yield


@pytest.mark.parametrize("method", METHODS)
def test_every_method_selects(place: Path, method: str) -> None:
    (name, *options), model = method.split(), "llava15_7b"
    experiment = experiment_of(place, model, f"method={name}", *options, "budget=0.5")
    pool = experiment.open_pool()
    chosen = select(experiment, pool, opened(place, model))
    assert len(chosen.subset.rows) == 12
    assert np.isfinite(chosen.subset.scores[chosen.subset.rows]).any()
    assert (chosen.warmup is not None) == (name in WARMED)
    again = select(experiment, pool, opened(place, model))
    assert again.subset.rows.tolist() == chosen.subset.rows.tolist()
    assert all(stage.cached for stage in again.stages)


def test_progress_says_at_which_checkpoint_of_the_warm_up(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    name = Pass.name

    def noted(self: Pass) -> str:
        names.append(name.__get__(self))
        return names[-1]

    monkeypatch.setattr(Pass, "name", property(noted))
    less = ["method=less", f"cache={place / 'checkpoints'}", "budget=0.5"]
    selected(place, "llava15_7b", *less, "method.warmup.fraction=1", "method.checkpoints=2")
    assert [name for name in names if "Adam" in name] == [
        f"features at checkpoint {number} of 2: AdamGradient" for number in (1, 2)
    ]
    names.clear()
    selected(place, "llava15_7b", "method=length", f"cache={place / 'checkpoints'}")
    assert names == ["features: TokenCount"]


@pytest.fixture(scope="module")
def kinds(place: Path) -> list[Method]:
    return [experiment_of(place, "llava15_7b", f"method={name}").method for name in KINDS]


@pytest.mark.parametrize(
    "model",
    ["llava_phi2", "llava_qwen25", "qwen2_vl_7b", "qwen2_5_vl_3b", "qwen3_vl_4b", "internvl3_2b", "llava_onevision_7b"],
)
def test_a_method_of_each_kind_selects_for_the_other_families(place: Path, model: str, kinds: list[Method]) -> None:
    experiment = experiment_of(place, model, "method=random", "budget=0.5")
    pool = experiment.open_pool()
    for method in kinds:
        chosen = select(replace(experiment, method=method), pool, opened(place, model))
        assert len(chosen.subset.rows) == 12, method
        assert np.isfinite(chosen.subset.scores[chosen.subset.rows]).any(), method


def test_what_is_missing_is_said_before_anything_is_computed(place: Path) -> None:
    def refused(*arguments: str) -> str:
        with pytest.raises(UserError) as problem:
            selected(place, "llava15_7b", f"cache={place / 'empty'}", *arguments)
        stages = {path.parent.name for path in (place / "empty").glob("*/*")}
        assert not stages & {"features", "adapter", "subset"}
        return str(problem.value)

    assert "method=rds_plus needs examples of the target benchmarks" in refused("method=rds_plus", "~targets")
    assert "which suite=prism does not measure; it has: SQA" in refused("method=rds_plus", "suite=prism")
    assert "Layer 9 was asked for" in refused("method=prism", "method.layer=9")
    assert "Layer 9 was asked for" in refused("method=scalselect", "method.layer=9")
    assert "method.layer=two is not a whole number." in refused("method=prism", "method.layer=two")
    assert "set method.checkpoint to a folder that holds one" in refused("method=clip_score")
    assert "budget=1.5 is not a share of the pool" in refused("method=random", "budget=1.5")


def test_a_pool_of_one_source_cannot_be_shared_out(place: Path) -> None:
    file, images = write_pool(place / "plain", rows=8)
    rows = json.loads(file.read_text())
    file.write_text(json.dumps([row | {"source": "only"} for row in rows]))
    for method in ("tive", "dataprophet"):
        with pytest.raises(UserError, match=f"method={method} shares the budget out .* all rows are of 'only'"):
            selected(place, "llava15_7b", f"method={method}", f"pool.file={file}", f"pool.images={images}")


def test_a_pool_without_images_is_refused_before_anything_is_computed(place: Path) -> None:
    file, images = write_pool(place / "text", rows=8)
    rows = [row for row in json.loads(file.read_text()) if "image" not in row]
    file.write_text(json.dumps(rows))
    for method in ("prism", "prism method.features=joint", "scalselect", "clip_score method.checkpoint=/no/clip"):
        with pytest.raises(UserError, match="ranks rows by their images, but no row of the pool has one; choose"):
            chosen = f"method={method}".split()
            selected(place, "llava15_7b", *chosen, f"pool.file={file}", f"pool.images={images}")


def test_targets_without_images_are_named_as_what_they_are(place: Path) -> None:
    file, images = write_pool(place / "words", rows=8)
    rows = [row | {"source": "mini-SQA"} for row in json.loads(file.read_text()) if "image" not in row]
    file.write_text(json.dumps(rows))
    chosen = ("method=dataprophet", "targets=llava_json", f"targets.file={file}", f"targets.images={images}")
    with pytest.raises(UserError, match=r"needs images, but no row of the targets has one; set targets=… "):
        selected(place, "llava15_7b", *chosen)


def test_coverage_tells_what_happened_to_the_rows(place: Path) -> None:
    experiment = experiment_of(place, "llava15_7b", "method=scalselect", "method.text_only=exclude", "budget=0.5")
    pool = experiment.open_pool()
    chosen = select(experiment, pool, opened(place, "llava15_7b"))
    lines = coverage_lines(chosen.subset, pool)
    assert lines[0] == "18 rows scored, 6 without image, 6 excluded: rows without image"
    assert chosen.subset.coverage(pool)["per_source"]["text"] == {
        "pool": 6, "scored": 0, "without_image": 6, "kept": 0,
    }  # fmt: skip


def test_a_method_that_scores_nothing_tells_no_count_of_scored_rows(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for method in ("full", "random"):
        experiment = experiment_of(place, "llava15_7b", f"method={method}", "budget=0.5")
        pool = experiment.open_pool()
        caplog.clear()
        with caplog.at_level("INFO", "selectmm"):
            select_rows(experiment, pool, opened(place, "llava15_7b"))
        assert f" of {len(pool)} rows" in caplog.text and f"/{pool.counts()['text']}" in caplog.text
        assert "scored" not in caplog.text
    listed = Subset(np.arange(4), excluded={"in the list, not in the pool": 2})
    assert coverage_lines(listed, pool)[0] == "2 excluded: in the list, not in the pool"
    assert coverage_lines(replace(listed, scores=np.full(len(pool), np.nan)), pool)[0].startswith("2 excluded: ")


def test_another_number_of_rows_than_the_budget_s_is_said_with_the_fair_comparison(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when the subset comes from the cache; the full run's budget is 1, whatever was asked for."""
    (tmp_path / "rows.json").write_text("[0, 5, 17]")
    for _ in range(2):
        caplog.clear()
        selected(place, "llava15_7b", "method=from_indices", f"method.file={tmp_path / 'rows.json'}", "budget=0.5")
        said = "from_indices kept 3 rows, not the 12 of the budget; compare it with method=random budget=3."
        assert [record.getMessage().strip() for record in caplog.records if record.levelname == "WARNING"] == [said]
    caplog.clear()
    selected(place, "llava15_7b", "method=full", "budget=0.5")
    selected(place, "llava15_7b", "method=from_indices", f"method.file={tmp_path / 'rows.json'}", "budget=3")
    assert "budget" not in caplog.text


def test_one_key_says_on_how_many_devices_every_stage_runs(place: Path) -> None:
    def made(*arguments: str) -> Experiment:
        return experiment_of(place, "llava15_7b", "method=random", *arguments)

    assert (made().devices, made("devices=auto").devices, made("devices=4").devices) == (1, 1, 4), "on a CPU"
    assert made("devices=4", "strategy=ddp").strategy == Strategy("ddp", 4)
    assert made("devices=4", "strategy=single").strategy == Strategy("single", 1)
    with pytest.raises(UserError, match=r"^devices=many is neither a whole number nor auto; set devices=auto, or to "):
        made("devices=many")
    with pytest.raises(UserError, match=r"^devices=0: a stage runs on at least one; set devices=1 or devices=auto\.$"):
        made("devices=0")


def test_the_number_of_devices_names_no_result() -> None:
    assert Strategy("single", 1).learned() == {"kind": "single", "devices": 1, "offload": False}, "as results are named"
    assert Strategy("zero2", 8).learned() == Strategy("zero2", 4).learned() != Strategy("zero3", 4).learned()
