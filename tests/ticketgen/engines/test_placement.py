"""Workers find a place on any cluster: tried by filling the machines one worker at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_tickets.pipeline.system.cluster import Machine
from vit_tickets.ticketgen.engines.placement import place

machines = st.lists(
    st.builds(Machine, st.sampled_from([0, 0.5, 1, 2, 3, 4, 7, 16, 96]), st.integers(0, 8)), min_size=1, max_size=6
)


def places(cluster, placed) -> int:
    """How many workers fit, put on the machines one after the other, in the ten-thousandths that Ray counts in."""
    count, asked = 0, [round(1e4 * placed.cpus), round(1e4 * placed.gpus)]
    for machine in cluster:
        cpus, gpus = round(1e4 * machine.cpus), round(1e4 * machine.gpus)
        while cpus >= asked[0] and gpus >= asked[1] and count < 1000:
            cpus, gpus, count = cpus - asked[0], gpus - asked[1], count + 1
    return count


@given(machines, st.none() | st.integers(1, 40))
def test_all_workers_fit_on_cpus(cluster, workers):
    placed = place(cluster, workers, on_gpu=False)
    if any(machine.cpus >= 1 for machine in cluster):
        assert places(cluster, placed) >= placed.count == (workers or placed.count)
    assert placed.threads >= 1
    assert placed.gpus == 0


@given(machines, st.none() | st.integers(1, 40))
def test_all_workers_fit_on_gpus(cluster, workers):
    total = sum(machine.gpus for machine in cluster)
    if not total or any(machine.gpus and not machine.cpus for machine in cluster):
        return
    placed = place(cluster, workers, on_gpu=True)
    assert places(cluster, placed) >= placed.count == (workers or total)
    assert placed.gpus <= 1


@pytest.mark.parametrize(
    ("cluster", "workers", "expected"),
    [
        ([Machine(1)], None, (1, 1, 1)),
        ([Machine(2)], None, (1, 2, 2)),
        ([Machine(2)], 2, (2, 1, 1)),
        ([Machine(2)], 3, (3, 1, 0.5)),
        ([Machine(16)], None, (4, 4, 4)),
        ([Machine(2), Machine(2), Machine(2)], None, (3, 2, 2)),
        ([Machine(2), Machine(2), Machine(2)], 1, (1, 2, 2)),
        ([Machine(0), Machine(8)], None, (2, 4, 4)),
    ],
)
def test_known_clusters(cluster, workers, expected):
    placed = place(cluster, workers, on_gpu=False)
    assert (placed.count, placed.threads, placed.cpus) == expected
