"""How ranks find each other."""

import os

import pytest

from vit_tickets.train.runtime import distributed


def test_ranks_of_one_machine_are_told_to_use_loopback(monkeypatch):
    def stop(backend):
        raise InterruptedError(backend)

    monkeypatch.setattr(distributed.dist, "init_process_group", stop)
    for local, given, expected in (("2", None, "lo"), ("2", "eth0", "eth0"), ("1", None, None)):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", given or "")
        if given is None:
            monkeypatch.delenv("GLOO_SOCKET_IFNAME")
        with pytest.raises(InterruptedError, match="gloo"), distributed.world("cpu"):
            pass
        assert os.environ.get("GLOO_SOCKET_IFNAME") == expected
