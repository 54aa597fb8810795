"""Rows on their way to the model: by loader processes, in fewer at a time, and what is said when one cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from selectmm.errors import UserError
from selectmm.features import onepass, reading
from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import Feature, Seen
from selectmm.features.loaded import Loaded
from selectmm.features.onepass import Pass, Sizes
from selectmm.features.reading import Reader, conversations_of, loaders_for
from selectmm.features.shards import join
from selectmm.features.states import JointStates
from selectmm.features.tokens import TokenCount
from selectmm.models import llava
from selectmm.models.encode import Conversation
from selectmm.models.forward import Reads
from selectmm.models.together import parts_alike
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from tests.tiny import tiny_llava

FEATURES: list[Feature] = [JointStates(2), AnswerLoss(), TokenCount()]


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return llava.load(str(tiny_llava(tmp_path_factory.mktemp("llava"))), device="cpu")


@pytest.fixture
def rows(vlm: VLM) -> list[int]:
    """How many rows each forward pass had, as they are made."""
    made: list[int] = []

    def count(_module: nn.Module, _given: tuple, named: dict[str, torch.Tensor]) -> None:
        made.append(len(named["input_ids"]))

    hook = vlm.model.model.register_forward_pre_hook(count, with_kwargs=True)
    yield made
    hook.remove()


def values(
    vlm: VLM, pool: Pool, place: Path, tokens: int = 10**6, loaders: int = 0, wanted: list[Feature] = FEATURES
) -> dict[Feature, np.ndarray]:
    """Of a pass in batches of four, six of them a shard."""
    folders = {feature: place / str(number) for number, feature in enumerate(wanted)}
    for folder in folders.values():
        folder.mkdir(parents=True)
    one = Pass(pool, "conversation", folders, Sizes(4, 6, limit=512, tokens=tokens))
    assert len([*one.compute(vlm, one.open_shards(), loaders)]) == -(-len(pool) // 6)
    for folder in folders.values():
        join(folder)
    return {feature: np.load(folder / "values.npy") for feature, folder in folders.items()}


def test_loader_processes_change_no_bit(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    here, read_ahead = values(vlm, pool, tmp_path / "0"), values(vlm, pool, tmp_path / "2", loaders=2)
    assert all(np.array_equal(here[feature], read_ahead[feature]) for feature in FEATURES)


def test_a_batch_with_too_many_tokens_takes_several_passes(
    vlm: VLM, pool: Pool, tmp_path: Path, rows: list[int]
) -> None:
    whole = values(vlm, pool, tmp_path / "whole")
    assert rows == [4, 2, 4, 2]
    lengths = whole[TokenCount()]
    most = 2 * int(lengths.max())  # two of the longest row fit, three do not: four never do unless they are short
    rows.clear()
    fewer = values(vlm, pool, tmp_path / "fewer", tokens=most)
    assert 2 in rows and len(rows) > 4 and sum(rows) == len(pool)
    rows.clear()
    single = values(vlm, pool, tmp_path / "single", tokens=1)
    assert rows == [1] * len(pool)
    for other in (fewer, single):
        assert all(np.allclose(whole[feature], other[feature], atol=2e-5) for feature in FEATURES)


def test_rows_are_opened_and_encoded_once_however_small_their_parts_are(
    vlm: VLM, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, made = [], []
    open_image, encoded = Pool.open_image, reading.encoded

    def note_image(self: Pool, relative: str) -> Image.Image:
        opened.append(relative)
        return open_image(self, relative)

    def note_rows(vlm: VLM, units: list[int], talks: Sequence[Conversation], pictures: bool) -> Loaded:
        made.append(units)
        return encoded(vlm, units, talks, pictures)

    monkeypatch.setattr(Pool, "open_image", note_image)
    monkeypatch.setattr(reading, "encoded", note_rows)
    units = [7, 2, 11, 0, 5, 4, 3, 9, 1]
    images = sorted(one.path for unit in units for one in pool[unit].images)
    talks = {unit: [*conversations_of(pool, "conversation", [unit])] for unit in units}
    lengths = {unit: int(encoded(vlm, [unit], talks[unit], False).lengths) for unit in units}
    for tokens, limit in ((10**6, 512), (100, 512), (200, 512), (300, 512), (300, min(lengths.values()) + 2), (1, 512)):
        opened.clear(), made.clear()
        cut = {unit: min(length, limit) for unit, length in lengths.items()}
        read = Reader(vlm, pool, "conversation", Reads(), limit, tokens)[units]
        parts = parts_alike(torch.tensor([cut[unit] for unit in units]), tokens)
        assert made == [loaded.units for loaded in read] == [[units[row] for row in part] for part in parts], tokens
        assert sorted(opened) == images
        assert all(loaded.lengths.tolist() == [lengths[unit] for unit in loaded.units] for loaded in read)


@pytest.mark.usefixtures("uncollected")
def test_where_memory_runs_out_half_of_the_rows_are_computed_at_a_time(
    vlm: VLM, pool: Pool, tmp_path: Path, rows: list[int]
) -> None:
    pool = Pool(pool.table.slice(0, 4), pool.image_root, "its first batch")
    whole = values(vlm, pool, tmp_path / "whole")
    rows.clear()
    small = _memory_for(vlm, rows=1)
    try:
        halved = values(vlm, pool, tmp_path / "halved")
    finally:
        small.remove()
    assert rows == [4, 2, 1, 1, 2, 1, 1], "four rows were too many, and so were two"
    assert all(np.allclose(whole[feature], halved[feature], atol=2e-5) for feature in FEATURES)


@pytest.mark.usefixtures("uncollected")
def test_a_row_that_does_not_fit_alone_is_named(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    small = _memory_for(vlm, rows=0)
    try:
        with pytest.raises(UserError, match=r"features of row 3 \(id '3'\) alone \(\d+ tokens\) were computed"):
            values(vlm, pool, tmp_path)
    finally:
        small.remove()


@pytest.fixture
def uncollected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage is not collected before fewer rows are tried: that takes a second, and a CPU gets nothing back."""
    monkeypatch.setattr(onepass, "clear_device_cache", lambda **_named: None)


def _memory_for(vlm: VLM, rows: int) -> torch.utils.hooks.RemovableHandle:
    """As on a GPU that holds the pass of so many rows."""

    def run_out(_module: nn.Module, _given: tuple, named: dict[str, torch.Tensor]) -> None:
        if len(named["input_ids"]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    return vlm.model.model.register_forward_pre_hook(run_out, with_kwargs=True)


@pytest.mark.parametrize("loaders", [0, 1])
def test_an_image_that_is_gone_is_one_sentence_whoever_reads_it(
    vlm: VLM, pool: Pool, tmp_path: Path, loaders: int
) -> None:
    copytree(pool.image_root, tmp_path / "images")
    (tmp_path / "images" / pool.images[3]).unlink()
    without = Pool(pool.table, tmp_path / "images", pool.fingerprint)
    for wanted in ([JointStates(1)], [TokenCount()]):
        with pytest.raises(UserError, match=r"^Image \S+ is missing; put it there, or set pool\.bad_rows=drop\.$"):
            values(vlm, without, tmp_path / type(wanted[0]).__name__, loaders=loaders, wanted=wanted)


@dataclass(frozen=True)
class Careless:
    """Looks at what its ``reads()`` does not ask for."""

    tensors: bool
    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        return Reads(tensors=self.tensors)

    def compute(self, seen: Seen) -> torch.Tensor:
        return torch.tensor([len(one.turns) for one in seen.conversations] if self.tensors else seen.tokens.sum(1))


def test_what_was_not_asked_for_is_not_there(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has to read pictures=True"):
        values(vlm, pool, tmp_path / "pictures", wanted=[Careless(tensors=True)])
    with pytest.raises(ValueError, match="has to read tensors=True"):
        values(vlm, pool, tmp_path / "tensors", wanted=[Careless(tensors=False)])


def test_readers_take_the_cores_that_do_not_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}
    for cores in (2, 16, 96):
        monkeypatch.setattr("os.sched_getaffinity", lambda _process, cores=cores: set(range(cores)), raising=False)
        for kind, ranks in (("cpu", 1), ("cuda", 1), ("cuda", 8)):
            made[cores, kind, ranks] = loaders_for(torch.device(kind), ranks)
    assert (made[2, "cpu", 1], made[16, "cpu", 1], made[96, "cpu", 1]) == (0, 4, 8)
    assert (made[2, "cuda", 1], made[16, "cuda", 1], made[96, "cuda", 1]) == (1, 8, 8)
    assert (made[2, "cuda", 8], made[16, "cuda", 8], made[96, "cuda", 8]) == (1, 1, 8)
