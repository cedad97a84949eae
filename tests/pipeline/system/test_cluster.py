"""Amounts of CPUs and GPUs as Ray accepts them."""

import pytest

from vit_tickets.pipeline.system.cluster import choose_engine, whole_or_part
from vit_tickets.pipeline.system.errors import UserError


@pytest.mark.parametrize("cpus", [1, 2, 3, 7, 8, 64])
@pytest.mark.parametrize("jobs", [1, 2, 3, 5, 7])
def test_what_a_ray_task_asks_for_lets_all_jobs_run(cpus, jobs):
    share = whole_or_part(cpus / jobs)
    assert share * jobs <= cpus
    assert share > 0
    assert share < 1 or share == int(share)


@pytest.mark.parametrize(
    ("asked", "address", "environment", "gpus", "expected"),
    [
        ("auto", None, {}, 0, ("local", None)),
        ("auto", None, {}, 1, ("local", None)),
        ("auto", None, {}, 2, ("ray", None)),
        ("auto", "10.0.0.1:6379", {"RAY_ADDRESS": "other:1"}, 0, ("ray", "10.0.0.1:6379")),
        ("auto", None, {"RAY_ADDRESS": "10.0.0.1:6379"}, 0, ("ray", "10.0.0.1:6379")),
        ("auto", None, {"RAY_ADDRESS": "local"}, 0, ("ray", None)),
        ("auto", None, {"RAY_ADDRESS": ""}, 0, ("local", None)),
        ("auto", None, {"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}, 0, ("ray", "auto")),
        ("local", None, {"RAY_ADDRESS": "10.0.0.1:6379"}, 8, ("local", None)),
        ("ray", None, {"RAY_ADDRESS": "10.0.0.1:6379"}, 0, ("ray", None)),
        ("ray", "auto", {}, 0, ("ray", "auto")),
    ],
)
def test_the_engine_is_ray_where_there_is_something_to_share_out(
    asked, address, environment, gpus, expected, monkeypatch
):
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    engine = choose_engine(asked, address, gpus)
    assert (engine.name, engine.address) == expected
    assert (engine.why is not None) == (asked == "auto")


def test_an_address_for_this_process_alone_is_refused():
    with pytest.raises(UserError, match="--ray-address: expected --engine ray or auto, found --engine local"):
        choose_engine("local", "auto", 0)
