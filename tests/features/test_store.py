"""The feature store on a tiny model of every family: right values, one pass, once, continued after a kill."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selectmm.errors import UserError
from selectmm.features import feature as feature_module
from selectmm.features.answers import AnswerLoss
from selectmm.features.states import ImageStates, JointStates
from selectmm.features.tokens import TokenCount
from selectmm.models.encode import Conversation, encode
from selectmm.models.forward import Passed, Reads
from selectmm.models.inputs import inputs_of
from selectmm.models.lengths import Outline, token_counts
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Turn
from tests.families import BODIES
from tests.features.material import store_of


@pytest.fixture(params=BODIES)
def vlm(request: pytest.FixtureRequest, loaded: Callable[[str], VLM]) -> VLM:
    """Every model here; the other files of this folder take LLaVA and Qwen2-VL."""
    return loaded(request.param)


# For tests of what the store does around the pass, whichever model it is that passes.
ONE = pytest.mark.parametrize("vlm", ["llava_chatml"], indirect=True)


@torch.inference_mode()
def one_by_one(vlm: VLM, pool: Pool, row: int, layer: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Image state, joint state and token count of one row, from the model's own list of hidden states."""
    sample = pool[row]
    images = (pool.open_image(sample.image),) if sample.image else ()
    batch = encode(vlm, [Conversation(sample.turns, images)], side="right", limit=512)
    inputs = inputs_of(batch)
    states = vlm.model(**inputs, output_hidden_states=True).hidden_states[layer][0]
    shown = batch["input_ids"][0] == vlm.image_token_id
    return states[shown].mean(0).numpy(), states.mean(0).numpy(), len(states)


def test_values_are_those_of_the_models_own_hidden_states(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    image, joint, tokens = ImageStates(1), JointStates(1), TokenCount()
    got = store_of(vlm, tmp_path).get(pool, [image, joint, tokens])
    for row in range(len(pool)):
        expected_image, expected_joint, expected_tokens = one_by_one(vlm, pool, row, 1)
        assert got[tokens][row] == expected_tokens
        np.testing.assert_allclose(got[joint][row], expected_joint, atol=2e-5)
        if pool.image_of[row] >= 0:
            np.testing.assert_allclose(got[image][pool.image_of[row]], expected_image, atol=2e-5)


def test_answer_losses_are_hugging_faces_after_the_question_and_by_themselves(
    vlm: VLM, pool: Pool, tmp_path: Path
) -> None:
    asked, alone = AnswerLoss("conversation"), AnswerLoss("answer")
    got = store_of(vlm, tmp_path).get(pool, [asked, alone])
    for row in range(len(pool)):
        sample = pool[row]
        images = (pool.open_image(sample.image),) if sample.image else ()
        answers = tuple(turn for turn in sample.turns if turn.role == "assistant")
        for feature, talk in ((asked, Conversation(sample.turns, images)), (alone, Conversation(answers))):
            with torch.inference_mode():
                loss = vlm.model(**encode(vlm, [talk], side="right", limit=512)).loss
            np.testing.assert_allclose(got[feature][row], float(loss), atol=2e-5)


def test_lengths_alone_are_those_of_the_processor_without_decoding_an_image(
    vlm: VLM, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool's images have sides of 40 to 79 pixels, which the families make 4 to 20 tokens of."""
    expected = [one_by_one(vlm, pool, row, 1)[2] for row in range(len(pool))]

    def decode(_pool: Pool, relative: str) -> None:
        raise AssertionError(f"{relative} was decoded")

    monkeypatch.setattr(Pool, "open_image", decode)
    lengths = store_of(vlm, tmp_path).get(pool, [TokenCount()])[TokenCount()]
    assert lengths.tolist() == expected and lengths.dtype == np.int32


@pytest.mark.parametrize("size", [(500, 30), (301, 733), (28, 28)])
def test_an_images_tokens_follow_from_its_size(vlm: VLM, size: tuple[int, int]) -> None:
    turns, image = (Turn("user", "Which? é"), Turn("assistant", "no")), Image.new("RGB", size)
    tensors = encode(vlm, [Conversation(turns, (image,))], side="right", limit=None)
    assert token_counts(vlm, [Outline(turns, (size,))]).tolist() == [tensors["input_ids"].shape[1]]


@pytest.mark.parametrize("vlm", ["llava_chatml", "qwen2_5_vl"], indirect=True)  # values alone are held above
def test_batch_and_shard_sizes_do_not_matter(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    features = [ImageStates(1, "last_token"), JointStates(1)]
    small = store_of(vlm, tmp_path / "a", batch_size=1, shard=3).get(pool, features)
    large = store_of(vlm, tmp_path / "b", batch_size=12, shard=12).get(pool, features)
    for feature in features:
        np.testing.assert_allclose(small[feature], large[feature], atol=2e-5)


@ONE
def test_what_is_missing_is_computed_in_one_pass_and_only_once(
    vlm: VLM, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deepest: list[set[int]] = []
    real = feature_module.run

    def counted(vlm: VLM, batch: dict[str, torch.Tensor], reads: Reads) -> Passed:
        deepest.append(set(reads.layers))
        return real(vlm, batch, reads)

    monkeypatch.setattr(feature_module, "run", counted)
    store = store_of(vlm, tmp_path)
    store.stages(pool, [TokenCount(), JointStates(1)])
    assert deepest == [{1}] * 3, "12 rows in batches of 4: one forward pass serves both features"
    stages = store.stages(pool, [TokenCount(), JointStates(1), JointStates(2)])
    assert deepest[3:] == [{2}] * 3
    assert [stages[f].cached for f in (TokenCount(), JointStates(1), JointStates(2))] == [True, True, False]


@ONE
def test_a_killed_pass_continues_at_the_next_shard(
    vlm: VLM, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = feature_module.run, []

    def stops_at_the_third(vlm: VLM, batch: dict[str, torch.Tensor], reads: Reads) -> Passed:
        calls.append(reads)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(vlm, batch, reads)

    monkeypatch.setattr(feature_module, "run", stops_at_the_third)
    store = store_of(vlm, tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        store.get(pool, [JointStates(1)])
    killed = store.get(pool, [JointStates(1)])[JointStates(1)]
    assert len(calls) == 4, "two shards were done, one was killed, one was left"
    whole = store_of(vlm, tmp_path / "whole").get(pool, [JointStates(1)])[JointStates(1)]
    assert np.array_equal(killed, whole)


@ONE
def test_what_cannot_be_computed_is_refused_before_any_compute(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Layer 9 was asked for, but this \w+ model has decoder layers 1 to"):
        store_of(vlm, tmp_path).get(pool, [JointStates(9)])
    text = Pool(pool.table.filter(pool.table["image"].is_null()), pool.image_root, "text")
    with pytest.raises(UserError, match="ImageStates needs images, but no row of the pool has one"):
        store_of(vlm, tmp_path).get(text, [ImageStates(1)])


@ONE
def test_a_feature_that_gives_another_number_of_values_than_rows_is_named(
    vlm: VLM, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More values than rows would pass for those of the first rows."""
    said = r"^TokenCount\.compute gave values of {} for a batch of 2; give a tensor of shape \(2,\) or \(2, width\)\.$"
    for made, given in (
        (lambda seen: torch.zeros(3 * len(seen)), r"shape \(6,\)"),
        (lambda _seen: torch.tensor(1.0), r"shape \(\)"),
        (lambda seen: [0.0] * len(seen), "type list"),
    ):
        monkeypatch.setattr(TokenCount, "compute", lambda _self, seen, made=made: made(seen))
        with pytest.raises(UserError, match=said.format(given)):
            store_of(vlm, tmp_path, batch_size=2).get(pool, [TokenCount()])


@ONE
def test_values_that_are_not_numbers_are_refused(
    vlm: VLM, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = feature_module.run

    def spoiled(vlm: VLM, batch: dict[str, torch.Tensor], reads: Reads) -> Passed:
        return Passed({layer: states * float("nan") for layer, states in real(vlm, batch, reads).hidden.items()})

    monkeypatch.setattr(feature_module, "run", spoiled)
    dropped = pool.without([0, 1], "dropped")
    for feature, unit in ((JointStates(1), dropped.named(0)), (ImageStates(1), f"image {dropped.images[0]}")):
        with pytest.raises(
            UserError, match=rf" came out as NaN or infinite for {re.escape(unit)}; .*model\.dtype=float"
        ):
            store_of(vlm, tmp_path).get(dropped, [feature])
    assert dropped.named(0).startswith("row 2 "), "as the file counts them"
