"""Every benchmark states its floor; amounts are those of a direct count, and a floor is the sum of its parts."""

import importlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.performance import clusters, floor, gradients, mask, open_pool, prism, scalselect, sides
from experiments.performance.floor import WITHOUT, Floor, Part
from experiments.performance.page import ORDER, make
from experiments.performance.sides import Comparison, Side, keep
from selectmm.features.gradients import sketch

PERFORMANCE = Path(prism.__file__).parent
HELPERS = {"disk", "floor", "naive", "own_memory", "page", "plain_trainer", "rows", "sides", "work"}
ON_ANOTHER_PAGE = {"gpu", "gpu_kernels", "gpu_page", "gpu_serving"}  # held against the plan's estimates there
SIDE = Side(3.0, 2.5, 100.0, 8.0)


def test_every_benchmark_states_a_floor_or_says_why_none_applies() -> None:
    found = {path.stem for path in PERFORMANCE.glob("*.py")} - HELPERS - ON_ANOTHER_PAGE
    assert found == set(ORDER)
    for name in ORDER:
        states = getattr(importlib.import_module(f"experiments.performance.{name}"), "floors", None)
        assert (states is None) == (name in WITHOUT), name
        assert (WITHOUT[name] if states is None else states.__doc__).strip().endswith(".")


def test_parts_add_up_and_the_disk_works_beside_them() -> None:
    parts = (Part("read", 300, "bytes", 100), Part("add", 8, "FLOP", 4))
    alone = Floor("it", 10.0, parts)
    assert (alone.least, alone.times) == (5.0, 2.0)
    assert Floor("it", 10.0, parts, beside=(Part("disk", 4, "bytes", 1),)).least == 5.0
    assert Floor("it", 10.0, parts, beside=(Part("disk", 20, "bytes", 1),)).least == 20.0
    assert alone.record()["times"] == 2.0


def test_a_rate_is_that_of_the_fastest_try(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 4.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr(floor, "clock", lambda: next(times))
    assert floor.rate_of(lambda: None, 10.0, tries=3) == 5.0


def test_what_is_parsed_is_a_list_of_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"id": number, "said": "a}, b"} for number in range(9)]))
    parsed = []
    monkeypatch.setattr(floor, "rate_of", lambda action, amount, **_: parsed.append(action()) or amount)
    assert floor.parsing(file) == file.stat().st_size
    assert floor.parsing(file, size=70) < 70
    assert [len(rows) for rows in parsed] == [9, 2]


@pytest.fixture
def ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rate is one a second, so that a part's share of a floor is its amount."""
    for module in (prism, scalselect, clusters, mask, open_pool):
        for name in (
            "read_rate",
            "reading",
            "cold_reading",
            "to_single",
            "products",
            "streaming",
            "parsing",
            "hashing",
        ):
            if getattr(module, name, None) is getattr(floor, name, floor.reading):
                monkeypatch.setattr(module, name, lambda *_: 1.0)
    monkeypatch.setattr(scalselect, "eigenvalues", lambda _: 1.0)


def values(folder: Path, kind: str) -> Path:
    np.save(folder / "values.npy", np.ones((6, 4), kind))
    return folder / "values.npy"


def test_prism_reads_three_times(tmp_path: Path, ones: None) -> None:
    path = values(tmp_path, "float16")
    size = 6 * 4 * 2 + 128  # bytes: numbers and the file's head
    assert prism.floors(path, "it", SIDE, cold=False).least == 3 * size + 3 * 24
    cold = prism.floors(path, "it", SIDE, cold=True)
    assert [part.amount for part in cold.beside] == [size]
    matrix = torch.ones(6, 4)
    with FlopCounterMode(display=False) as counted:
        matrix @ matrix.T
    assert prism.matrix_floor("it", 6, 4, SIDE).least == counted.get_total_flops()


def test_scalselect_multiplies_half_a_matrix(tmp_path: Path, ones: None) -> None:
    time, memory = scalselect.floors(values(tmp_path, "float32"), "it", SIDE, rank=2)
    file = 2 * (6 * 4 * 4 + 128)
    assert time.least == pytest.approx(file + 6 * 16 + 4 / 3 * 64 + 2 * 6 * 4 * 2)
    assert memory.measured == SIDE.grown
    assert memory.least * 2**20 == pytest.approx(6 * 4 * 4 + 2 * 16 * 8)


def test_clusters_multiply_rows_with_centres_and_rows_with_rows(tmp_path: Path, ones: None) -> None:
    path = values(tmp_path, "float16")
    grouped = clusters.floors(path, "k-means", 3, 5, SIDE)
    near = clusters.floors_of_neighbours(path, "neighbours", SIDE)
    file = 6 * 4 * 2 + 128
    assert (grouped.least, near.least) == (file + 5 * 2 * 6 * 3 * 4, file + 6 * 6 * 4)
    made = [Comparison(name, "", SIDE, SIDE, None) for name in ("mmd", "graph", "farthest")]
    assert [one.least for one in clusters.floors_of_choices(6, 4, 2, made)] == [8 * 6 * 8, 6 * 6 * 4, 8 * 6 * 4]


def test_a_pool_is_read_and_hashed_and_the_first_time_parsed(tmp_path: Path, ones: None) -> None:
    (tmp_path / "rows.json").write_text("x" * 10)
    first, again = open_pool.floors(tmp_path / "rows.json", 1, (SIDE, replace(SIDE, seconds=1.0), SIDE))
    assert (first.least, again.least) == (pytest.approx(10 + 10 + 10 + 8), 20)
    assert (first.measured, again.measured) == (3.0, 1.0)


def test_a_step_of_a_padded_batch_multiplies_what_pytorch_counts(ones: None) -> None:
    """PyTorch's counter counts padding, so that linear layers are compared by the token; attention is set apart."""
    sizes = mask.Sizes(tokens=260, steps=1, width=32, layers=2)
    batch = mask.rows(mask._model(sizes), sizes.tokens)
    lengths = batch["attention_mask"].sum(1)
    with FlopCounterMode(display=False) as counted:
        mask.steps(sizes, mask.right_padded)()
    by_kind = {str(kind): flops for kind, flops in counted.get_flop_counts()["Global"].items()}
    products = sum(flops for kind, flops in by_kind.items() if "attention" not in kind)
    attention = 6.0 * 32 * 2 * float(lengths.double().square().sum())
    linear = mask.floors(sizes, "it", SIDE).least - attention
    assert linear / float(lengths.sum()) == pytest.approx(products / batch["input_ids"].numel(), rel=1e-6)


def test_projecting_a_gradient_multiplies_what_pytorch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {"A": (128, 576), "B": (576, 128), "small": (8, 192)}
    linears = {name: torch.nn.Linear(shape[1], shape[0], bias=False) for name, shape in shapes.items()}
    monkeypatch.setattr(gradients, "_with_lora", lambda _: __import__("contextlib").nullcontext())
    monkeypatch.setattr(gradients, "lora_linears", lambda *_: linears)
    with FlopCounterMode(display=False) as counted:
        for name, shape in shapes.items():
            sketch(torch.ones(3, *shape), gradients.FEATURE.dim, name)
    assert gradients.projecting(None, 3) == counted.get_total_flops()


def test_the_page_says_whether_a_missed_aim_is_below_the_floor(tmp_path: Path) -> None:
    theirs, records = replace(SIDE, seconds=20.0, grown=200.0), tmp_path / "records"
    made = [Comparison(what, "the definition", SIDE, theirs, 10) for what in ("one", "other")]
    made.append(Comparison("one", "the definition", SIDE, theirs, 0.01, at_least=False, of="grown"))
    floors = [
        Floor("one", 3.0, (Part("all rows read", 5e9, "bytes", 2e9),)),
        Floor("other", 3.0, (Part("all rows read", 1e9, "bytes", 2e9),)),
        Floor("one", 8.0, (Part("a block", 4 * 2**20, "bytes", 2**20),), unit="MiB", remark="A remark."),
    ]
    path = keep("prism", {}, made, records, floors=[one.record() for one in floors])
    record = json.loads(path.read_text()) | {"threads": 1}
    path.write_text(json.dumps(record))
    page = make(tmp_path, records).read_text()
    assert "| one | all rows read | 5 G bytes | 2 G/s | 2.50 s | 3.00 s | 1.2 |" in page
    assert "| one | a block | 4.19 M bytes | – | 4 MiB | 8 MiB | 2 |" in page
    assert (
        "The aim of ≥ 10 would need 2.00 s, which is less than the floor: no code meets it here (2.50 s); measured "
        "were 3.00 s." in page
    )
    assert "The aim of ≥ 10 would need 2.00 s, which is more than the floor (0.50 s); measured were 3.00 s." in page
    assert "The aim of ≤ 0.01 would need 2 MiB, which is less than the floor: no code meets it here (4 MiB)" in page
    assert "\nA remark.\n" in page


def test_a_side_of_one_thread_is_judged_whatever_else_runs(tmp_path: Path) -> None:
    records = tmp_path / "records"
    path = keep("prism", {}, [Comparison("it", "that", SIDE, SIDE, 2)], records)
    record = json.loads(path.read_text()) | {"threads": 1, "load": 9.0}
    path.write_text(json.dumps(record))
    assert "Provisional" not in make(tmp_path, records).read_text()
    path.write_text(json.dumps(record | {"threads": 2}))
    assert "Provisional" in make(tmp_path, records).read_text()
    old = asdict(SIDE)
    del old["held_up"]
    record["comparisons"][0]["ours"] = old
    path.write_text(json.dumps(record))
    assert "Provisional" in make(tmp_path, records).read_text()


def test_the_clock_is_read_again_if_another_program_had_the_core_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read between two values of what was waited, it would be wrong by all of the wait."""
    waited, now = iter([1.0, 3.0, 3.0]), iter([10.0, 12.0])
    monkeypatch.setattr(sides, "_held_up", lambda: next(waited))
    monkeypatch.setattr(sides.time, "perf_counter", lambda: next(now))
    assert sides.clock() == 9.0
