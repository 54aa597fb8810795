"""A sweep says where its time went."""

from selectmm.report.sweep import where_time_went
from tests.report.runs import run_of


def test_stages_that_ran_are_added_up_and_cached_ones_left_out() -> None:
    ran = [run_of("full", {"a": 1.0}, seconds=(1.0, 2.0, 100.0)), run_of("prism", {"a": 1.0}, seconds=(5.0, 0.0, 30.0))]
    cached = run_of("random", {"a": 1.0}, seconds=(7.0, 7.0, 7.0), cached=True)
    assert where_time_went([*ran, cached], seconds=180.0) == (
        "3.0 min: features 6.0 s, select 2.0 s, finetune 2.2 min, evaluate 18.0 s, "
        "the rest (imports, pool, model, W&B, this page) 24.0 s"
    )


def test_jobs_side_by_side_take_longer_together_than_the_sweep() -> None:
    ran = [run_of("full", {"a": 1.0}, seconds=(0.0, 2.0, 100.0), seed=seed) for seed in (0, 1)]
    assert where_time_went(ran, seconds=115.0) == (
        "115.0 s; of all jobs, side by side: features 0.0 s, select 4.0 s, finetune 3.3 min, evaluate 18.0 s"
    )
