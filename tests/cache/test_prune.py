"""What is in a cache, and what of it may go: whole stages, never one in use, never what is not ours."""

import json
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import example, given, settings
from hypothesis import strategies as st

from selectmm.cache.inventory import Entry, Inventory, take_inventory
from selectmm.cache.prune import DAY, choose, remove, remove_leftovers, sum_of
from selectmm.cache.stage import run_stage
from selectmm.errors import UserError
from tests.cache.test_in_use import reader

NOW = 100 * DAY


def stage(root: Path, name: str, mark: int, identity: dict | None = None, size: int = 1000, age: float = 0) -> Path:
    """A finished stage as `run_stage` leaves it, but not held by this process; ``age`` in days before `NOW`."""
    folder = root / name / f"{mark:016x}"
    folder.mkdir(parents=True)
    cost = {"seconds": 1.0, "device_seconds": 2.0 * mark, "peak_gib": 0.5}
    entry = {"stage": name, "fingerprint": folder.name, "identity": identity or {}, "cost": cost}
    note = folder / "stage.json"
    note.write_text(json.dumps(entry))
    (folder / "data").write_bytes(b"x" * (size - note.stat().st_size))
    folder.with_suffix(".lock").touch()
    os.utime(note, (NOW - age * DAY,) * 2)
    return folder


def unfinished(root: Path, name: str, mark: int) -> Path:
    folder = root / name / f"{mark:016x}.partial"
    folder.mkdir(parents=True)
    (folder / "spent.json").write_text('{"seconds": 1, "device_seconds": 7, "peak_gib": 0}')
    folder.with_suffix(".lock").touch()
    return folder


def marks(entries: list[Entry]) -> list[int]:
    return [int(entry.folder.stem, 16) for entry in entries]


def test_an_inventory_says_what_each_stage_is_and_cost(tmp_path: Path) -> None:
    chosen = {"method": "selectmm.methods.prism.Prism@0123456789abcdef", "rows": 42, "seed": 3, "version": 2}
    subset = stage(tmp_path, "subset", 1, chosen, age=3)
    (subset / "subset.json").write_text('{"pool": "cc", "fingerprint": "00000000000000aa", "rows": [1, 2]}')
    stage(tmp_path, "adapter", 2, {"subset": "00000000000000aa", "strategy": {"kind": "zero2", "devices": 2}}, age=2)
    stage(tmp_path, "evaluation", 3, {"adapter": f"{2:016x}", "suite": {"name": "mini"}}, 5000, age=1)
    unfinished(tmp_path, "features", 4)
    found = take_inventory(tmp_path)
    assert [entry.what for entry in found.entries] == [
        "method=Prism, rows=42, seed=3",
        "Prism, strategy=zero2, subset 00000000",
        "Prism, suite=mini, adapter 00000000",
        "",
    ]
    assert [entry.size for entry in found.entries[1:3]] == [1000, 5000]
    assert [entry.device_seconds for entry in found.entries] == [2, 4, 6, 7]
    assert [entry.state for entry in found.entries] == ["finished"] * 3 + ["partial"]
    assert [entry.in_use for entry in found.entries] == [False] * 4


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        ({}, []),
        ({"unused_days": 20}, [1, 2]),
        ({"unused_days": 20, "stages": ["adapter"]}, [2]),
        ({"stages": ["adapter"]}, [2, 4, 9]),
        ({"max_gib": 2500 / 2**30}, [1, 2, 3]),  # 5,500 bytes are there; after two, 3,000 still
        ({"max_gib": 2500 / 2**30, "stages": ["adapter"]}, [2, 4]),
        ({"max_gib": 1}, []),
        ({"unfinished": True}, [9]),
    ],
)
def test_what_is_chosen_to_go(tmp_path: Path, asked: dict, gone: list[int]) -> None:
    stage(tmp_path, "features", 1, size=1000, age=30)
    stage(tmp_path, "adapter", 2, size=1500, age=20)
    stage(tmp_path, "features", 3, size=1000, age=10)
    stage(tmp_path, "adapter", 4, size=1950, age=5)
    unfinished(tmp_path, "adapter", 9)  # 50 bytes
    found = take_inventory(tmp_path)
    assert sum(entry.size for entry in found.entries) == 5500
    assert marks(choose(found, NOW, **asked)) == gone


def test_features_of_one_pass_cost_it_once(tmp_path: Path) -> None:
    for mark, rode_on in ((3, "a"), (4, "a"), (5, "b")):  # they cost 6, 8 and 10
        (stage(tmp_path, "features", mark) / "pass.txt").write_text(rode_on)
    stage(tmp_path, "adapter", 1)  # 2
    assert sum_of(take_inventory(tmp_path).entries)[1] == 8 + 10 + 2


def test_a_stage_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    stage(tmp_path, "features", 1)
    with pytest.raises(UserError, match=r"has no stage 'adaptor'; it has: features\."):
        choose(take_inventory(tmp_path), NOW, ["adaptor"])


def test_what_another_process_reads_stays(tmp_path: Path) -> None:
    stage(tmp_path, "adapter", 1)
    with reader(tmp_path):
        found = take_inventory(tmp_path)
        assert {entry.stage: entry.in_use for entry in found.entries} == {"adapter": False, "features": True}
        assert [entry.stage for entry in choose(found, NOW * 1e6, unused_days=0)] == ["adapter"]
        used = next(entry for entry in found.entries if entry.stage == "features")
        assert not remove(tmp_path, used), "also if it was free when it was chosen"
        assert used.folder.exists()
    assert remove(tmp_path, used)
    assert not used.folder.exists() and not used.folder.with_suffix(".lock").exists()


@pytest.mark.parametrize("lock", ["{}.lock", "{}.partial/worker.lock"], ids=["made now", "an orphan trains"])
def test_an_unfinished_stage_that_a_process_works_at_stays(tmp_path: Path, lock: str) -> None:
    folder = unfinished(tmp_path, "adapter", 1)
    with FileLock(tmp_path / "adapter" / lock.format(folder.stem)):
        found = take_inventory(tmp_path)
        assert found.entries[0].in_use is True
        assert choose(found, NOW, unfinished=True) == []
        assert not remove(tmp_path, found.entries[0])
    assert folder.exists()
    assert remove(tmp_path, take_inventory(tmp_path).entries[0])
    assert list((tmp_path / "adapter").iterdir()) == []


def test_a_prune_that_is_killed_leaves_no_half_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stage(tmp_path, "features", 1)
    entry = take_inventory(tmp_path).entries[0]

    def killed(path: Path) -> None:
        (Path(path) / "data").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(tmp_path, entry)
    assert not folder.exists()
    assert not list(tmp_path.glob("features/*/stage.json")), "nobody finds the half of it"
    found = take_inventory(tmp_path)
    assert found.entries == [] and len(found.leftovers) == 2, "what was being deleted, and the stage's lock"
    remove_leftovers(found)
    assert [path.name for path in tmp_path.rglob("*")] == ["features"]
    assert not run_stage(tmp_path, "features", {}, lambda folder: None).cached


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, cache = tmp_path / "outside", tmp_path / "cache"
    kept = stage(outside, "features", 1)
    folder = stage(cache, "adapter", 2)
    (folder / "images").symlink_to(kept)
    (cache / "adapter" / f"{3:016x}").symlink_to(kept)
    (cache / "features").symlink_to(outside / "features")
    found = take_inventory(cache)
    assert marks(found.entries) == [2] and len(found.links) == 2
    assert found.entries[0].size < 1200, "what a link leads to does not count"
    assert remove(cache, found.entries[0])
    (cache / ".removed").mkdir(exist_ok=True)
    (cache / ".removed" / "link").symlink_to(kept)
    remove_leftovers(take_inventory(cache))
    assert sorted(path.name for path in kept.iterdir()) == ["data", "stage.json"]
    assert not (cache / ".removed").exists()


def test_what_is_not_known_to_be_ours_is_left_alone(tmp_path: Path) -> None:
    ours = stage(tmp_path, "features", 1)
    strange = [stage(tmp_path, "features", mark) for mark in (2, 3, 4)]
    (strange[0] / "stage.json").write_text("[]")
    (strange[1] / "stage.json").unlink()
    (strange[2] / "stage.json").write_text((ours / "stage.json").read_text())  # says that it is another
    (tmp_path / "features" / "notes").mkdir()
    (tmp_path / "My photos").mkdir()
    (tmp_path / "README").touch()
    before = sorted(tmp_path.rglob("*"))
    found = take_inventory(tmp_path)
    assert marks(found.entries) == [1] and found.leftovers == []
    assert len(found.others) == 6
    for entry in choose(found, NOW * 2, unused_days=0):
        assert remove(tmp_path, entry)
    remove_leftovers(found)
    gone = set(before) - set(tmp_path.rglob("*"))
    assert gone == {ours, ours / "data", ours / "stage.json", ours.with_suffix(".lock")}


def test_a_folder_that_is_no_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no cache folder .*nowhere; name another with --cache"):
        take_inventory(tmp_path / "nowhere")
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"does not look like a cache of selectmm: .*there is thesis\.tex"):
        take_inventory(tmp_path)
    (tmp_path / "thesis.tex").unlink()
    assert take_inventory(tmp_path) == Inventory(tmp_path, [], [], [], [])


def test_what_cannot_be_removed_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(tmp_path, "features", 1)

    def refuses(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(UserError, match=r"features/0000000000000001 cannot be removed: Permission denied"):
        remove(tmp_path, take_inventory(tmp_path).entries[0])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
)
NOTE = st.fixed_dictionaries(
    {
        "stage": st.just("features"),
        "fingerprint": st.just(f"{1:016x}"),
        "identity": JSON | st.dictionaries(st.sampled_from(["method", "subset", "suite", "rows", "\x1b[2J"]), JSON),
        "cost": JSON | st.fixed_dictionaries({"device_seconds": JSON}),
    }
)


@settings(max_examples=40)
@given(note=NOTE | JSON)
@example(note={"stage": "features", "fingerprint": f"{1:016x}", "identity": {"\x1b[2J": 0}, "cost": {}})
def test_whatever_a_note_says_nothing_breaks(note: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / "notes"
    folder = root / "features" / f"{1:016x}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stage.json").write_text(json.dumps(note))
    (root / ".removed" / "so-that-it-is-a-cache").mkdir(parents=True, exist_ok=True)
    found = take_inventory(root)
    assert len(found.entries) + len(found.others) == 1
    assert all(entry.what.isprintable() for entry in found.entries)
