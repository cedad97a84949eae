"""Amounts of CPUs and GPUs as Ray accepts them."""

import pytest

from vit_tickets.pipeline.system.cluster import whole_or_part


@pytest.mark.parametrize("cpus", [1, 2, 3, 7, 8, 64])
@pytest.mark.parametrize("jobs", [1, 2, 3, 5, 7])
def test_what_a_ray_task_asks_for_lets_all_jobs_run(cpus, jobs):
    share = whole_or_part(cpus / jobs)
    assert share * jobs <= cpus
    assert share > 0
    assert share < 1 or share == int(share)
