"""ScalSelect's representation: toys by hand, and Hugging Face's eager attention of one row at a time."""

from fractions import Fraction
from typing import Literal

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from selectmm.features.attended import AttendedStates, attention_from, most_attended
from selectmm.models.encode import IGNORED
from selectmm.models.forward import Heads
from selectmm.models.vlm import VLM
from tests.features.material import TALKS, Row, seen


def test_attention_by_hand() -> None:
    """One channel, queries of 2 and a scale of a half: weights are in proportion to exp(key), up to the own place."""
    keys = torch.tensor([1.0, 2.0, 3.0, 4.0]).log().view(1, 1, 4, 1)
    queries = torch.full((1, 2, 4, 1), 2.0)
    queries[0, 1] = 0  # the second head of the pair that shares a key head: uniform
    attention = attention_from(Heads(queries, keys, 0.5), 0, torch.tensor([1, 2]))
    of_second = torch.tensor([1 / 3 + 1 / 2, 2 / 3 + 1 / 2, 0, 0])
    of_third = torch.tensor([1 / 6 + 1 / 3, 2 / 6 + 1 / 3, 3 / 6 + 1 / 3, 0])
    torch.testing.assert_close(attention, (of_second + of_third) / 4)


def test_nobody_asking_attends_to_nothing() -> None:
    heads = Heads(torch.ones(1, 2, 3, 4), torch.ones(1, 1, 3, 4), 1.0)
    assert attention_from(heads, 0, torch.tensor([], dtype=torch.int64)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("attention", "mass", "kept"),
    [
        ([0.1, 0.5, 0.05, 0.35], 0.9, [1, 3, 0]),  # 0.5, 0.85, 0.95: the third is the first to exceed
        ([4, 20, 2, 14], 0.9, [1, 3, 0]),  # the same in other units
        ([0.5, 0.5], 0.5, [0, 1]),  # reaching the mass is not exceeding it
        ([1.0, 0.0, 0.0], 0.9, [0]),
        ([0.0, 0.0, 0.0, 0.0], 0.5, [0, 1, 2]),  # nothing attended to: uniform, 0.25, 0.5, 0.75
        ([0.25, 0.25, 0.25, 0.25], 0.6, [0, 1, 2]),  # ties by position
        ([7.0], 0.9, [0]),
        ([0.5, 0.25, 0.25], 1.0, [0, 1, 2]),  # nothing exceeds the whole
    ],
)
def test_the_cut_off_by_hand(attention: list[float], mass: float, kept: list[int]) -> None:
    assert most_attended(torch.tensor(attention, dtype=torch.float32), mass).tolist() == kept


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40), st.integers(1, 99))
def test_the_cut_off_is_the_shortest_prefix_that_exceeds(attention: list[int], percent: int) -> None:
    """In fractions, where nothing is rounded."""
    mass, whole = Fraction(percent, 100), sum(attention)
    shares = [Fraction(value, whole) if whole else Fraction(1, len(attention)) for value in attention]
    order = sorted(range(len(shares)), key=lambda place: (-shares[place], place))
    sums = [sum(shares[place] for place in order[: count + 1]) for count in range(len(order))]
    assume(all(abs(total - mass) > 1e-5 for total in sums))  # exact meetings are in the test by hand
    expected = order[: 1 + next(count for count, total in enumerate(sums) if total > mass)]
    assert most_attended(torch.tensor(attention, dtype=torch.float32), percent / 100).tolist() == expected


@torch.no_grad()
def eager(vlm: VLM, row: Row, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention [tokens, tokens], mean over heads, and output states [tokens, width] of a layer, by Hugging Face."""
    config = vlm.layer(1).self_attn.config
    before, states = config._attn_implementation, []
    handle = vlm.layer(layer).register_forward_hook(lambda _m, _i, output: states.append(output))
    config._attn_implementation = "eager"
    try:
        attentions = vlm.model(**row.inputs, output_attentions=True).attentions
    finally:
        config._attn_implementation = before
        handle.remove()
    state = states[0][0] if isinstance(states[0], tuple) else states[0]
    return attentions[layer - 1][0].mean(0), state[0]


def by_eager(vlm: VLM, row: Row, feature: AttendedStates) -> torch.Tensor:
    """The representation, by loops over Hugging Face's attention matrix."""
    attention, states = eager(vlm, row, feature.layer)
    images = (row.ids == vlm.image_token_id).nonzero().flatten().tolist()
    if not images:
        return torch.zeros(states.shape[1])
    asking = row.words
    if feature.user_mask == "everything_but_answers":
        asking = (row.labels == IGNORED) & (row.ids != vlm.image_token_id)
    looked_at = [sum(attention[u, j].item() for u in asking.nonzero().flatten().tolist()) for j in images]
    order, kept, held = sorted(range(len(images)), key=lambda j: -looked_at[j]), [], 0.0
    for j in order:
        kept.append(images[j])
        held += looked_at[j] / sum(looked_at)
        if held > feature.mass and feature.conditioning == "attended":
            break
    return torch.stack([states[j] for j in kept]).mean(0)


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("conditioning", ["attended", "all_image_tokens"])
@pytest.mark.parametrize("user_mask", ["template", "everything_but_answers"])
@torch.no_grad()
def test_states_are_those_that_eager_attention_points_at(
    vlm: VLM,
    user_mask: Literal["template", "everything_but_answers"],
    conditioning: Literal["attended", "all_image_tokens"],
    layer: int,
) -> None:
    """A mass of 0.4 leaves some of the four image tokens out; the cut does not reach the question's row."""
    feature = AttendedStates(layer, 0.4, user_mask, conditioning)
    made = feature.compute(seen(vlm, feature))
    expected = torch.stack([by_eager(vlm, Row.of(vlm, talk), feature) for talk in TALKS])
    torch.testing.assert_close(made, expected, atol=2e-5, rtol=1e-4)
    everything = AttendedStates(layer, 1.0, user_mask, "all_image_tokens")
    whole = everything.compute(seen(vlm, everything))
    images = [row for row, talk in enumerate(TALKS) if talk.images]
    differ = (made - whole)[images].abs().amax(1) > 1e-3
    assert differ.all() if conditioning == "attended" else not differ.any()


@torch.no_grad()
def test_the_two_readings_of_the_instruction_differ(vlm: VLM) -> None:
    """Or the test above would prove nothing about the masks."""
    attention, _ = eager(vlm, row := Row.of(vlm, TALKS[0]), 1)
    others = (row.labels == IGNORED) & (row.ids != vlm.image_token_id)
    assert row.words.sum() < others.sum()
    images = row.ids == vlm.image_token_id
    assert not torch.allclose(attention[row.words][:, images].mean(0), attention[others][:, images].mean(0))
