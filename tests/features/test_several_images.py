"""What features and methods make of rows with several images, against sums written out here."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selectmm.features.answers import AnswerLoss
from selectmm.features.blind import BlindLoss
from selectmm.features.feature import Features
from selectmm.features.states import ImageStates
from selectmm.features.store import FeatureStore
from selectmm.features.tokens import TokenCount
from selectmm.methods.images import of_rows
from selectmm.methods.prism import Prism
from selectmm.models.encode import Conversation, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool

COLOURS = ("red", "green", "blue", "white", "black")
SHOWN = [[0, 1], [2], [], [1, 3, 4], [3], [0]]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """Rows of two images, one, none, three, one and one."""
    folder = tmp_path_factory.mktemp("mixed")
    for number, colour in enumerate(COLOURS):
        Image.linear_gradient("L").resize((40 + 8 * number, 56)).convert("RGB").save(folder / f"{colour}.png")
    rows = []
    for number, shown in enumerate(SHOWN):
        said = "<image>".join(["", *["Which?"] * len(shown)]) if shown else f"Why {number}?"
        turns = [{"from": "human", "value": said}, {"from": "gpt", "value": "It is a circle."}]
        rows.append({"image": [f"{COLOURS[image]}.png" for image in shown], "conversations": turns})
    (folder / "rows.json").write_text(json.dumps(rows))
    return open_llava_json(str(folder / "rows.json"), str(folder), "stop", folder / "cache")


def states(vlm: VLM, pool: Pool, turns: tuple, shown: tuple) -> torch.Tensor:
    """Of a conversation's image tokens after layer 1, by Hugging Face's own means; [tokens, width]."""
    talk = Conversation(turns, tuple(pool.open_image(one.path) for one in shown), shown=shown)
    batch = encode(vlm, [talk], side="right", limit=None)
    with torch.no_grad():
        hidden = vlm.model.model(**inputs_of(batch), output_hidden_states=True, use_cache=False).hidden_states
    return hidden[1][0][batch["input_ids"][0] == vlm.image_token_id]


def test_image_states_are_of_each_image_alone_whatever_rides_along(vlm: VLM, mixed: Pool, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, vlm, batch_size=2, shard=4, limit=512)
    values = store.get(mixed, [ImageStates(1), AnswerLoss(), TokenCount(), BlindLoss()])
    for image, path in enumerate(mixed.images):
        row = next(row for row in range(len(mixed)) if path in [one.path for one in mixed[row].images])
        alone = tuple(one._replace(turn=0, at=0) for one in mixed[row].images if one.path == path)
        expected = states(vlm, mixed, mixed[row].turns, alone).mean(0)
        np.testing.assert_allclose(values[ImageStates(1)][image], expected, atol=2e-5)
    for row in range(len(mixed)):
        sample = mixed[row]
        for feature, shown in ((AnswerLoss(), sample.images), (BlindLoss(), ())):
            talk = Conversation(sample.turns, tuple(mixed.open_image(one.path) for one in shown), shown=shown)
            batch = encode(vlm, [talk], side="right", limit=None)
            with torch.no_grad():
                loss = float(vlm.model(**{k: v for k, v in batch.items() if k != "instruction"}).loss)
            wanted = loss if feature == AnswerLoss() or sample.images else 0
            assert values[feature][row] == pytest.approx(wanted, abs=2e-5)
            if feature == AnswerLoss():
                assert values[TokenCount()][row] == batch["input_ids"].shape[1]


def test_a_row_is_the_mean_over_its_images_or_its_first(mixed: Pool) -> None:
    values = np.random.default_rng(0).normal(size=(len(mixed.images), 7)).astype(np.float32)
    rows = np.array([0, 1, 3, 4, 5])
    places = [[mixed.images.index(f"{COLOURS[image]}.png") for image in SHOWN[row]] for row in rows]
    made, unit = of_rows(values, mixed, rows, "mean")
    np.testing.assert_allclose(made[unit], [values[own].mean(0) for own in places], rtol=1e-6)
    made, unit = of_rows(values, mixed, rows, "first")
    assert made is values and np.array_equal(made[unit], values[[own[0] for own in places]])
    singles = mixed.without([0, 3], "singles")
    assert of_rows(values, singles, np.array([0, 2, 3]), "mean")[0] is values, "no copy where no row has several"


@pytest.mark.parametrize("several", ["mean", "first"])
def test_prism_correlates_what_the_option_says(several: str, mixed: Pool) -> None:
    method = Prism(centering="per_vector", scope="global", several=several)
    values = np.random.default_rng(1).normal(size=(len(mixed.images), 9))
    features = Features({ImageStates(1): values})
    scores = method.select(mixed, features, 3, np.random.default_rng(0)).scores
    of = [[mixed.images.index(f"{COLOURS[image]}.png") for image in shown] for shown in SHOWN if shown]
    rows = np.array([values[own].mean(0) if several == "mean" else values[own[0]] for own in of])
    expected = np.corrcoef(rows)
    np.testing.assert_allclose(scores[[0, 1, 3, 4, 5]], (expected.sum(1) - 1) / 4, atol=1e-9)
    assert np.isnan(scores[2])
