"""What rides on one pass over the pool, and what a kill in the middle leaves of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from selectmm.cache.cost import Cost
from selectmm.cache.stage import Stage
from selectmm.features import feature as feature_module
from selectmm.features import onepass as onepass_module
from selectmm.features import store as store_module
from selectmm.features.answers import AnswerError, AnswerLoss
from selectmm.features.attended import AttendedStates
from selectmm.features.feature import Feature
from selectmm.features.states import ImageStates, JointStates, TextStates
from selectmm.features.store import passes
from selectmm.features.tokens import TokenCount
from selectmm.methods.dataprophet import DataProphet
from selectmm.methods.el2n import El2n
from selectmm.methods.ifd import Ifd
from selectmm.methods.method import Method
from selectmm.methods.perplexity import Perplexity
from selectmm.methods.prism import Prism
from selectmm.methods.scalselect import ScalSelect
from selectmm.models.encode import Batch
from selectmm.models.forward import Passed, Reads
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from tests.features.material import store_of

Forwards = list[tuple[int, Reads]]
IMAGE = ImageStates(1)
# Most tests are of what the store does around the pass, whichever model it is that passes.
ONE = pytest.mark.parametrize("vlm", ["llava"], indirect=True)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Forwards:
    """Rows and reads of every forward pass, as they happen."""
    return watched(monkeypatch, lambda _done: None)


def watched(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None]) -> Forwards:
    """As `forwards`; ``before`` is told how many passes there were, and may raise."""
    made, real = [], feature_module.run

    def counted(vlm: VLM, batch: Batch, reads: Reads) -> Passed:
        before(len(made))
        made.append((len(batch["input_ids"]), reads))
        return real(vlm, batch, reads)

    monkeypatch.setattr(feature_module, "run", counted)
    return made


def killed_at(monkeypatch: pytest.MonkeyPatch, forward: int) -> None:
    def kill(done: int) -> None:
        if done == forward:
            raise KeyboardInterrupt

    watched(monkeypatch, kill)


def features_of(*methods: Method) -> list[Feature]:
    return [feature for method in methods for feature in method.needs().features]


def same(one: dict[Feature, np.ndarray], other: dict[Feature, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for feature in one:
        np.testing.assert_allclose(one[feature], other[feature], atol=2e-5, err_msg=repr(feature))


@ONE
def test_five_methods_share_one_forward_per_batch_of_rows(
    vlm: VLM, pool: Pool, tmp_path: Path, forwards: Forwards
) -> None:
    wanted = features_of(Prism(), ScalSelect(), Perplexity(), El2n(), DataProphet())
    assert {feature.view for feature in wanted} == {"conversation", "image"}
    stages = store_of(vlm, tmp_path, batch_size=4).stages(pool, wanted)
    assert [rows for rows, _ in forwards] == [4, 4, 4], "12 rows, and no pass for the images"
    reads = Reads(frozenset({0, 1}), frozenset({1}), answers=True)
    assert {made for _, made in forwards} == {reads}
    assert set(stages) == set(wanted) and len(passes(list(stages.values()))) == 1


def test_what_rode_along_is_what_would_have_been_computed_alone(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    wanted = [*features_of(Prism(), ScalSelect(), Perplexity(), El2n(), DataProphet(), Ifd()), TokenCount()]
    together = store_of(vlm, tmp_path / "together").get(pool, wanted)
    alone = {}
    for feature in set(wanted):
        alone |= store_of(vlm, tmp_path / "alone").get(pool, [feature])
    same(together, alone)


@ONE
def test_image_features_by_themselves_run_once_per_unique_image(
    vlm: VLM, pool: Pool, tmp_path: Path, forwards: Forwards
) -> None:
    assert (len(pool.images), int((pool.image_of >= 0).sum())) == (6, 9), "some rows share an image"
    values = store_of(vlm, tmp_path, batch_size=4, shard=4).get(pool, [IMAGE, ImageStates(1, "last_token")])
    assert [rows for rows, _ in forwards] == [4, 2]
    assert all(len(of) == 6 for of in values.values())


@ONE
def test_answers_alone_are_a_pass_of_their_own(vlm: VLM, pool: Pool, tmp_path: Path, forwards: Forwards) -> None:
    stages = store_of(vlm, tmp_path).stages(pool, features_of(Ifd(), Prism()))
    assert len(forwards) == 2 * 3, "the conversations with the images on them, and the answers by themselves"
    assert len(passes(list(stages.values()))) == 1, "asked for together, paid for together"


@ONE
def test_lengths_need_no_forward(vlm: VLM, pool: Pool, tmp_path: Path, forwards: Forwards) -> None:
    store_of(vlm, tmp_path).get(pool, [TokenCount()])
    assert not forwards


@ONE
def test_nothing_is_computed_that_is_there(vlm: VLM, pool: Pool, tmp_path: Path, forwards: Forwards) -> None:
    store = store_of(vlm, tmp_path)
    store.get(pool, features_of(Prism(), Perplexity()))
    before = len(forwards)
    stages = store.stages(pool, features_of(Prism(), Perplexity(), El2n()))
    assert {reads for _, reads in forwards[before:]} == {Reads(answers=True)}, "the images' states are not read again"
    assert [stages[feature].cached for feature in (IMAGE, AnswerLoss(), AnswerError())] == [True, True, False]
    assert len(passes(list(stages.values()))) == 2


@ONE
@pytest.mark.parametrize(("forward", "batch_size"), [(1, 3), (2, 1), (3, 1), (3, 3)])
def test_a_killed_pass_over_rows_goes_on_as_one_over_images(
    vlm: VLM, pool: Pool, tmp_path: Path, forward: int, batch_size: int
) -> None:
    _killed_and_resumed(vlm, pool, tmp_path, ([IMAGE, JointStates(1)], [IMAGE]), forward, batch_size)


@ONE
@pytest.mark.parametrize(("forward", "batch_size"), [(1, 2), (2, 1), (2, 2)])
def test_a_killed_pass_over_images_goes_on_as_one_over_rows(
    vlm: VLM, pool: Pool, tmp_path: Path, forward: int, batch_size: int
) -> None:
    _killed_and_resumed(vlm, pool, tmp_path, ([IMAGE], [IMAGE, JointStates(1)]), forward, batch_size)


def _killed_and_resumed(
    vlm: VLM, pool: Pool, cache: Path, wanted: tuple[list[Feature], list[Feature]], forward: int, batch_size: int
) -> None:
    """Kill the first request at a forward pass, ask for the second, and then for the first again."""
    first, second = wanted
    store = store_of(vlm, cache / "killed", batch_size, shard=batch_size)
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, forward)
        with pytest.raises(KeyboardInterrupt):
            store.get(pool, first)
    expected = store_of(vlm, cache / "whole").get(pool, [*first, *second])
    same(store.get(pool, second), {feature: expected[feature] for feature in second})
    same(store.get(pool, first), {feature: expected[feature] for feature in first})


@ONE
def test_what_was_done_before_a_kill_is_not_done_again(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    store = store_of(vlm, tmp_path, batch_size=3, shard=3)
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            store.get(pool, [IMAGE, JointStates(1)])
    with pytest.MonkeyPatch.context() as patch:
        made = watched(patch, lambda _done: None)
        store.get(pool, [IMAGE])  # rows 0 to 5 showed images 0 to 3
        assert [rows for rows, _ in made] == [3], "images 3 to 5: shards of a pass over images are counted in images"


@ONE
@pytest.mark.parametrize("survivors", [1, 2, 3])
def test_a_kill_while_joined_shards_are_removed_loses_nothing(
    vlm: VLM, pool: Pool, tmp_path: Path, survivors: int
) -> None:
    """The joined file is whole by then, but the stage is not finished and will be entered again."""
    store, real, removed = store_of(vlm, tmp_path / "killed"), Path.unlink, []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("shard-") and path.suffix == ".npy":
            if len(removed) == 3 - survivors:
                raise KeyboardInterrupt
            removed.append(path)
        real(path, missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(KeyboardInterrupt):
            store.get(pool, [JointStates(1)])
    whole = store_of(vlm, tmp_path / "whole").get(pool, [JointStates(1)])
    with pytest.MonkeyPatch.context() as patch:
        made = watched(patch, lambda _done: None)
        same(store.get(pool, [JointStates(1)]), whole)
        assert not list(made), "no shard is computed twice"


@ONE
def test_a_shared_pass_is_counted_once_and_at_its_dearest(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    store = store_of(vlm, tmp_path)
    shared = store.stages(pool, [IMAGE, JointStates(1), AnswerLoss()])
    later = store.stages(pool, [TextStates("question", 0)])
    stages = [*shared.values(), *later.values()]
    dear: list[Stage] = [replace(stage, cost=Cost(seconds=float(i))) for i, stage in enumerate(stages, 1)]
    assert [stage.cost.seconds for stage in passes(dear)] == [3.0, 4.0]
    assert passes([]) == []
    assert sum(stage.cost.seconds for stage in passes(stages)) < sum(stage.cost.seconds for stage in stages)


@ONE
def test_a_kill_between_two_finished_features_leaves_one_pass(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    """Marked anew, those that were finished later would be paid for a second time."""
    store, real, joined = store_of(vlm, tmp_path), store_module.join, []

    def join(folder: Path) -> None:
        joined.append(folder)
        if len(joined) == 2:
            raise KeyboardInterrupt
        real(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "join", join)
        with pytest.raises(KeyboardInterrupt):
            store.get(pool, [IMAGE, JointStates(1)])
    stages = store.stages(pool, [IMAGE, JointStates(1)])
    assert sorted(stage.cached for stage in stages.values()) == [False, True]
    assert len(passes(list(stages.values()))) == 1


@ONE
def test_passes_are_made_without_gradients(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    states: list[bool] = []
    real = onepass_module.Seen

    def spied(*given: object) -> feature_module.Seen:
        states.append(torch.is_grad_enabled())
        return real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onepass_module, "Seen", spied)
        store_of(vlm, tmp_path).get(pool, [AttendedStates()])
    assert states == [False] * 3
