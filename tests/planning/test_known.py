"""What is written down of models, pools and benchmarks against what others publish, and a plan made of nothing else."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from selectmm.commands.plan import main
from selectmm.commands.plan import place as put
from selectmm.errors import UserError
from selectmm.flops.anatomy import anatomy_of
from selectmm.flops.gpus import GPUS
from selectmm.instantiate import build
from selectmm.models.lengths import image_tokens
from selectmm.planning.known.benchmarks import TASKS
from selectmm.planning.known.loads import TEMPLATE, load_of_known
from selectmm.planning.known.models import MODELS, shapes_of
from selectmm.planning.known.pools import POOLS, rows_of, stand_in
from selectmm.planning.plan import plan
from selectmm.screen import output
from tests.planning.planned import config_of, stage
from tests.test_line import ROOT

# Parameters as the hub shows them for the published weights (llava-hf's: bytes of their index, in 2-byte numbers).
PUBLISHED = {
    "llava-hf/llava-1.5-7b-hf": 14_126_854_144 // 2,
    "Qwen/Qwen2-VL-2B-Instruct": 2_208_985_600,
    "Qwen/Qwen2-VL-7B-Instruct": 8_291_375_616,
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "Qwen/Qwen3-VL-4B-Instruct": 4_437_815_808,
    "Qwen/Qwen3-VL-8B-Instruct": 8_767_123_696,
}


@pytest.mark.parametrize("path", PUBLISHED)
def test_a_model_has_the_parameters_of_its_published_weights(path: str) -> None:
    vlm, source = shapes_of({"path": path}, "cuda")
    assert anatomy_of(vlm).parameters == PUBLISHED[path]
    assert path in source and vlm.model.dtype.itemsize == 2


def test_every_model_of_the_configuration_is_known_by_its_id_or_by_its_file() -> None:
    for file in sorted((ROOT / "configs/model").glob("*.yaml")):
        path = yaml.safe_load(file.read_text()).get("path")
        if not file.stem.startswith("embedded"):  # which are made of packages, and have no path
            assert (file.stem if path == "???" else path) in MODELS, file.stem


@pytest.mark.parametrize(
    ("path", "options", "tokens"),
    [
        ("llava15_7b_stage1", {}, 24 * 24),
        ("Qwen/Qwen2.5-VL-7B-Instruct", {}, (644 // 28) * (476 // 28)),  # sides to the nearest multiple of 28
        ("Qwen/Qwen3-VL-8B-Instruct", {}, (640 // 32) * (480 // 32)),
        # 307,200 pixels to at most 78,400: sides by 0.505, down to multiples of 28.
        ("Qwen/Qwen2-VL-7B-Instruct", {"max_pixels": 78_400, "min_pixels": 3136}, (308 // 28) * (224 // 28)),
        ("OpenGVLab/InternVL3-2B-hf", {"tiles": 1}, 256 + 2),
        # Two by two tiles, 54 × 54 tokens; the image is 40 lines high (40.5), each with a newline; and the whole.
        ("llava-hf/llava-onevision-qwen2-7b-ov-hf", {}, 40 * (54 + 1) + 27 * 27),
        # One tile: 20.25 lines, of which the padding above and below leaves 21.
        ("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", {"tiles": 1}, 21 * (27 + 1) + 27 * 27),
    ],
)
def test_an_image_has_the_tokens_of_the_processor(path: str, options: dict[str, int], tokens: int) -> None:
    vlm, _ = shapes_of({"path": path, **options}, "cpu")
    assert image_tokens(vlm, [(640, 480)]) == [tokens]


def test_the_pools_have_the_published_rows() -> None:
    with (ROOT / "results/published/scores.csv").open() as stream:
        cells = [row for row in csv.DictReader(stream) if row["table"] == "composition" and row["paper"] == "LLaVA-1.5"]
    printed = {row["benchmark"]: int(row["value"]) for row in cells}
    whole, pictured = (next(rows for rows in POOLS if rows.name == name) for name in ("llava_665k", "llava_v_625k"))
    assert sorted(part.rows for part in whole.parts) == sorted(n for name, n in printed.items() if name != "total")
    pool = stand_in(whole)
    assert len(pool) == printed["total"] == 665_298 and pool.counts()["text"] == printed["ShareGPT"]
    assert len(stand_in(pictured)) == 624_610, "LLaVA-V-625K"
    assert len(pool.images) == sum(images.count for images in whole.images.values())


def test_a_file_that_is_here_is_read_and_one_that_is_not_published_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {"file": "data/llava_v1_5_mix665k.json", "text_only": "leave_out"}
    assert rows_of(config).name == "llava_v_625k" and rows_of({"file": "mine.json"}) is None
    assert rows_of({**config, "file": f"elsewhere/{Path(config['file']).name}"}) == rows_of(config)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/llava_v1_5_mix665k.json").write_text("[]")
    assert rows_of(config) is None


def test_the_load_of_a_known_pool_by_hand() -> None:
    rows = next(rows for rows in POOLS if rows.name == "llava_665k")
    vlm, _ = shapes_of({"path": "llava15_7b_stage1"}, "cuda")
    first, text = 0, len(stand_in(rows)) - 1
    two = load_of_known(vlm, rows, "conversation", np.array([first, text]), 1000)
    assert two.tokens == (380 + 576) + 1000, "ShareGPT's row is cut"
    assert two.squares == 956**2 + 1000**2 and two.image_tokens == 576 and two.longest == 1000
    image = load_of_known(vlm, rows, "image", np.array([0, 1]), 1000)
    assert image.tokens == 2 * (TEMPLATE + 576) and image.rows == 2
    # CLIP ViT-L/14 on 336 pixels: 577 positions, 24 layers of 4·1024² + 2·1024·4096 weights, and the patches.
    tower = 24 * (2 * 577 * (4 * 1024**2 + 2 * 1024 * 4096) + 4 * 577**2 * 1024) + 2 * 576 * 3 * 14**2 * 1024
    assert image.tower == 2 * tower


def test_every_benchmark_of_the_configuration_is_known() -> None:
    files = sorted((ROOT / "configs/benchmark").glob("*.yaml"))
    tasks = {next(iter(yaml.safe_load(file.read_text()).values()))["task"] for file in files}
    assert tasks <= set(TASKS)


def test_the_table_is_planned_with_nothing_downloaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.chdir(tmp_path)
    wanted = ["experiments=prism/main", "method=full,tive", "seed=0", "tracker=none"]
    with output(json=True):
        main(["-m", *wanted, f"cache={tmp_path}", "--gpu", "h100", "--devices", "8"])
    shown = capsys.readouterr()
    text = " ".join(shown.err.split())
    assert "From: Pool llava_665k: data/llava_v1_5_mix665k.json is not here; rows: llava_v1_5_mix665k.json" in text
    assert "From: Model: none of its files are here; shapes and processor as in config.json of llava-hf" in text
    assert "From: Benchmarks: published numbers of items, not compared. Assumed: lengths of prompts;" in text
    content = json.loads(shown.out)
    stages = [stage for job in content["jobs"] for stage in job["stages"]]
    assert not [s for s in stages if s["state"] == "unknown"]
    counted = [s for s in stages if s["name"] in ("warm-up", "features", "finetune", "evaluate")]
    assert counted and all(s["fits"] and s["device_seconds"] is not None for s in counted), "in the 80 GB of each GPU"
    full = next(s for s in content["jobs"][0]["stages"] if s["name"] == "finetune")
    assert full["rows"] == 128 * -(-665_298 // 128) and full["devices"] == 8
    assert full["seconds"] == pytest.approx(full["device_seconds"] / 8)
    total = content["total"]
    assert 0 < total["features"] < 15 * 3600, "passes over the pool"
    assert 0 < total["by_engine"] < total["evaluation"] / 2 and total["by_engine"] < total["tuning"]


FAMILIES = {
    "llava15_7b": 576,
    "llava_phi2": 576,
    "qwen2_vl_7b": (308 // 28) * (196 // 28),
    "qwen2_5_vl_3b": (308 // 28) * (196 // 28),
    "qwen3_vl_4b": (320 // 32) * (192 // 32),
    "internvl3_2b": 256,
    "llava_onevision_0_5b": 17 * (27 + 1) + 27 * 27,
}


@pytest.mark.parametrize(("model", "image"), FAMILIES.items())
def test_a_pool_that_is_here_is_planned_for_a_model_that_is_not(
    model: str, image: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    said = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "It is a red square."}]
    rows = [{"id": str(n), "image": f"{n}.png", "conversations": said} for n in range(4)]
    for n in range(4):
        Image.new("RGB", (310, 200), (n, 90, 20)).save(tmp_path / f"{n}.png")
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    wanted = ["recipe=llava15_lora", "recipe.length=epochs", "recipe.epochs=1", "method=full", "suite=prism"]
    wanted += ["pool=llava_665k", f"pool.file={tmp_path}/rows.json", f"pool.images={tmp_path}", "tracker=none"]
    wanted += ["recipe.batch_size=4", "recipe.micro_batch=4", "strategy=single", f"cache={tmp_path}/cache"]
    config = config_of([f"model={model}", *wanted])
    OmegaConf.update(config, "chosen", {"model": model}, force_add=True)
    put(config, None, None)
    (found,) = plan([build(config, "full")], GPUS["a100-80"], 256)
    assert any(
        "images by the processor. Assumed: tokens of words (at most six letters each" in s for s in found.sources
    )
    tokens = stage(found, "finetune").work.tokens
    assert 4 * (image + 10) < tokens < 4 * (image + 80), "and some words, template included"


@pytest.mark.parametrize(
    ("given", "unset"),
    [([], r"pool\.file, pool\.images"), (["pool.file=rows.json"], r"pool\.images"), (["pool.images=a"], r"pool\.file")],
)
def test_a_pool_of_which_nothing_is_known_is_said_to_be_that_with_two_ways_out(
    given: list[str], unset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DataProphet's: the paper does not say how many rows it selects from."""
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    asked = unset.replace(",", "=…") + "=…"
    told = (
        f"^Not set: {unset}; how many rows there are to select from is unknown without, so nothing can be estimated: "
        f"give {asked}, or plan a pool whose counts are published \\(pool=llava_665k, .*pool=lrv\\)\\.$"
    )
    with pytest.raises(UserError, match=told):
        main(["-m", "experiments=dataprophet/selection", "method=random", "seed=0", "--gpu", "h100", *given])


def test_what_is_asked_of_devices_and_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    with pytest.raises(UserError, match=r"--devices 0 is not a number of devices; give 1 or more\."):
        main(["--devices", "0", "--gpu", "h100"])
    with pytest.raises(UserError, match=r"--nodes -1 is not a number of nodes; give 1 or more\."):
        main(["--nodes", "-1", "--gpu", "h100"])
