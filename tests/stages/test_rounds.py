"""What the parts of a training leave is put together in the folder of the whole."""

from pathlib import Path

import numpy as np
import pytest

from selectmm.cache.cost import Cost
from selectmm.errors import UserError
from selectmm.stages.rounds import VISITS, Trained, gather
from selectmm.tuning.adapter_file import WEIGHTS
from selectmm.tuning.callback import LOSSES, POINTS


@pytest.fixture
def part(tmp_path: Path) -> Trained:
    folder = tmp_path / "part"
    (folder / POINTS / "2").mkdir(parents=True)
    (folder / POINTS / "2" / WEIGHTS).write_text("after two steps")
    (folder / WEIGHTS).write_text("learned")
    (folder / LOSSES).write_text("{}\n")
    np.save(folder / VISITS, np.array([[3, 1]]))
    return Trained(folder, 0, 2, 0, Cost(), Cost(), Cost())


def test_weights_losses_visits_and_points_are_gathered(part: Trained, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    for _ in range(2):  # as after a kill
        gather([part, part], whole)
    assert (whole / WEIGHTS).read_text() == "learned"
    assert (whole / LOSSES).read_text() == "{}\n{}\n"
    assert np.load(whole / VISITS).tolist() == [[3, 1], [3, 1]]
    assert (whole / POINTS / "2" / WEIGHTS).read_text() == "after two steps"


@pytest.mark.parametrize("name", [WEIGHTS, VISITS, POINTS, f"{POINTS}/2", f"{POINTS}/2/{WEIGHTS}"])
def test_nothing_is_gathered_through_a_link(part: Trained, tmp_path: Path, name: str) -> None:
    mine, link = tmp_path / "mine", tmp_path / "whole" / name
    link.parent.mkdir(parents=True)
    if link.suffix:
        mine.write_text("content")
    else:
        mine.mkdir()
    link.symlink_to(mine)
    with pytest.raises(UserError, match=f"{link} is a link, but no stage makes links; delete it"):
        gather([part], tmp_path / "whole")
    assert mine.read_text() == "content" if link.suffix else not list(mine.iterdir())
