"""DataProphet's published tables: known values, and the committed page made again."""

from pathlib import Path

import numpy as np
import pytest

from experiments.dataprophet.published_tables import NAME, ROOT, make
from experiments.dataprophet.released import Released, load, predictors, recover_base, rounding_needed, shares
from selectmm.report.ranking import tau_source, tau_target

TABLES = ROOT / "results" / "tables"


@pytest.fixture(scope="module")
def released() -> Released:
    return load(ROOT / "results" / "published")


def test_tau_is_what_was_found_before(released: Released) -> None:
    matrices = released.metric, released.gains
    assert tau_target(*matrices).mean() == pytest.approx(0.864, abs=5e-4)
    assert tau_target(*matrices, diagonal=False).mean() == pytest.approx(0.841, abs=5e-4)
    assert tau_source(*matrices).mean() == pytest.approx(0.130, abs=5e-4)


def test_every_base_count_is_recovered(released: Released) -> None:
    found = [recover_base(column) for column in released.gains.T]
    assert [min(base.fits) for base in found] == released.base.tolist()
    assert {len(base.fits) for base in found} == {1, 2}
    for base in found:
        assert base.fits in ((base.fits[0],), (base.fits[0], 2 * base.fits[0]))


def test_a_base_count_is_recovered_from_invented_gains() -> None:
    after = np.array([701, 650, 333, 998, 641, 500])
    gains = np.round((after - 637) / 637, 4)
    assert recover_base(gains).fits == (637,)


def test_shares_sum_to_one(released: Released) -> None:
    np.testing.assert_allclose(shares(released.metric).sum(axis=0), 1)


def test_the_mean_elsewhere_leaves_the_target_and_the_own_set_out(released: Released) -> None:
    found = predictors(released)["the source's mean measured gain on all other targets"]
    others = [t for t in range(14) if t not in (3, 8)]
    assert found[3, 8] == pytest.approx(released.gains[3, others].mean())


def test_the_formulas_form_is_told_from_another() -> None:
    rng = np.random.default_rng(0)
    similarity, factor = rng.uniform(0.4, 0.6, (6, 6)), rng.uniform(0.8, 1.2, (2, 6))
    formula = (similarity + similarity.T) / 2 * factor[0][:, None] / factor[1]
    assert rounding_needed(formula) < 1e-5
    assert rounding_needed(np.round(formula, 2)) < 0.005
    assert rounding_needed(formula + rng.uniform(-0.1, 0.1, (6, 6))) > 0.01


def test_the_committed_page_and_picture_are_made_again(tmp_path: Path) -> None:
    page = make(tmp_path)
    assert page.read_text() == (TABLES / page.name).read_text()
    assert (tmp_path / f"{NAME}.svg").read_bytes() == (TABLES / f"{NAME}.svg").read_bytes()
    assert (tmp_path / f"{NAME}.png").exists()
