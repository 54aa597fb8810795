"""GDO's score of clips by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.features.answers import AnswerLoss
from selectmm.features.blind import BlindLoss
from selectmm.features.feature import NO_ANSWER, Feature
from selectmm.features.motion import FrameDifference
from selectmm.features.store import FeatureStore
from selectmm.methods.vds3 import Vds3, standard
from selectmm.models import llava
from selectmm.pool.clip import open_clip
from selectmm.pool.pool import Pool
from selectmm.pool.sharegpt import open_sharegpt
from tests.clips import write_clip
from tests.methods.pools import chosen, keeps_its_rows_in_another_order
from tests.tiny import tiny_llava

CLIPS, IMAGES = ("still.mp4", "short.mp4", "moving.mp4"), ("a.png", "b.png")
TEXTS = 3


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """Rows 0 to 2 show a clip each, rows 3 and 4 an image, row 5 a clip and an image, rows 6 to 8 nothing."""
    folder = tmp_path_factory.mktemp("pool")
    write_clip(folder / "still.mp4", frames=4, colour=(128, 128, 128))
    write_clip(folder / "short.mp4", frames=1)
    write_clip(folder / "moving.mp4", frames=9)
    for name in IMAGES:
        Image.new("RGB", (32, 32), "red" if name == "a.png" else "blue").save(folder / name)
    shown = [*(("<video>", {"videos": [one]}) for one in CLIPS), *(("<image>", {"images": [one]}) for one in IMAGES)]
    shown += [("<video><image>", {"videos": ["moving.mp4"], "images": ["a.png"]}), *([("", {})] * TEXTS)]
    answer = {"role": "assistant", "content": "It is a circle."}
    rows = [
        {"messages": [{"role": "user", "content": f"{marks}Which {row}?"}, answer], **more}
        for row, (marks, more) in enumerate(shown)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    return open_sharegpt(str(folder / "rows.json"), str(folder), "stop", str(folder / "cache"), "turn", "source")


def values(sighted: list[float], blind: list[float], moved: list[float]) -> dict[Feature, np.ndarray]:
    found = {AnswerLoss(): np.array(sighted), BlindLoss("drop"): np.array(blind)}
    return {**found, FrameDifference(): np.array(moved)}


SIGHTED = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 9.0, 9.0, 9.0]
BLIND = [2.0, 2.0, 5.0, 1.0, 4.0, 4.0, 0.0, 0.0, 0.0]
MOVED = [0.0, 0.0, 0.6, 0.0, 0.0]  # of the three clips and the two images


def test_the_three_terms_by_hand(pool: Pool) -> None:
    """Six rows show something; losses have the mean 2 and 3; row 5's difference is the mean of 0.6 and 0."""
    assert pool.images == [*CLIPS, *IMAGES]
    sd_sighted, sd_blind = np.sqrt(4 / 6), np.sqrt((1 + 1 + 4 + 4 + 1 + 1) / 6)
    moved = np.array([0, 0, 0.6, 0, 0, 0.3])
    sd_moved = np.sqrt(((moved - 0.15) ** 2).sum() / 6)
    expected = -(np.array(SIGHTED[:6]) - 2) / sd_sighted + (np.array(BLIND[:6]) - 3) / sd_blind
    expected += (moved - 0.15) / sd_moved
    subset = chosen(Vds3(), pool, values(SIGHTED, BLIND, MOVED), 4)
    assert subset.scores[:6] == pytest.approx(expected) and np.isnan(subset.scores[6:]).all()
    # Of four rows with clips, two with images and three with neither: 16/9, 8/9 and 12/9 of the budget.
    assert expected[2] > expected[5] > expected[[0, 1]].max() and expected[4] > expected[3]
    assert {2, 5, 4} < set(subset.rows.tolist()) and len(subset.rows) == 4


def test_each_descriptor_alone(pool: Pool) -> None:
    vds = chosen(Vds3("vds"), pool, values(SIGHTED, BLIND, MOVED), 4)
    assert vds.scores[:6] == pytest.approx([1, 0, 2, 0, 2, 1])
    moves = chosen(Vds3("frame_difference"), pool, {FrameDifference(): np.array(MOVED)}, 4)
    assert moves.scores[:6] == pytest.approx([0, 0, 0.6, 0, 0, 0.3]) and {2, 5} < set(moves.rows.tolist())
    assert len(Vds3("vds").needs().features) == 2 and Vds3("frame_difference").needs().features == (FrameDifference(),)


def test_a_term_counts_four_standard_deviations_at_most_and_nothing_where_it_is_the_same_everywhere() -> None:
    found = standard(np.array([0.0] * 99 + [1.0]))
    assert found[-1] == 4.0 and found[0] == pytest.approx(-0.01 / np.sqrt(0.01 * 0.99))
    assert standard(np.full(5, 7.0)).tolist() == [0] * 5
    found = standard(np.array([1.0, np.nan, 3.0]))
    assert found[[0, 2]].tolist() == [-1, 1] and np.isnan(found[1])


def test_a_row_without_an_answer_token_comes_last_and_is_counted(pool: Pool) -> None:
    sighted, blind = [NO_ANSWER, *SIGHTED[1:]], [NO_ANSWER, *BLIND[1:]]
    subset = chosen(Vds3(), pool, values(sighted, blind, MOVED), 8)
    assert np.isnan(subset.scores[0]) and 0 not in subset.rows
    assert subset.excluded == {"no answer token within recipe.max_length": 1}


def test_the_same_rows_however_the_pool_is_stored(pool: Pool) -> None:
    given = values(SIGHTED, BLIND, MOVED)
    del given[FrameDifference()]  # it is by image; the contract test has it
    keeps_its_rows_in_another_order(Vds3("vds"), pool, given, 4)


def test_the_difference_between_frames_by_hand(pool: Pool, tmp_path: Path) -> None:
    vlm = llava.load(str(tiny_llava(tmp_path / "llava")), "chatml", device="cpu", frames=3)
    feature, few = FrameDifference(), FrameDifference(3)
    found = FeatureStore(tmp_path, vlm, batch_size=2, shard=4, limit=512).get(pool, [feature, few])
    frames = open_clip(pool.image_root, "moving.mp4").read(range(9)).astype(np.float64)
    grey = frames @ [0.299, 0.587, 0.114]  # ITU-R BT.601; 64 × 64 pixels: 3.5 times as many each way keep the mean
    spaced = [0, 1, 2, 3, 5, 6, 7, 8]  # of 9, 8 evenly: 8/7 apart
    expected = [np.abs(np.diff(grey[own], axis=0)).mean() / 255 for own in (spaced, [0, 4, 8])]
    assert found[feature][2] == pytest.approx(expected[0], rel=0.1) and expected[0] > 0.005
    assert found[few][2] == pytest.approx(expected[1], rel=0.1)
    assert found[feature][0] < 1e-3 and found[feature][[1, 3, 4]].tolist() == [0, 0, 0]
