"""Which rank holds the folder of a run."""

import pytest

from tests.command import holder
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.locks import LOCK
from vit_tickets.train.runs import folder as run_folder

pytestmark = pytest.mark.process


class Rank:
    """A rank of two; `others` is what the other one adds to every sum."""

    def __init__(self, is_main: bool, others: float):
        self.is_main, self.others = is_main, others

    def sum(self, *values: float) -> list[float]:
        return [value + self.others for value in values]


def test_of_several_ranks_the_main_one_holds_the_run_and_all_end_where_it_may_not(tmp_path):
    with run_folder.held(str(tmp_path), Rank(is_main=True, others=0)):
        assert (tmp_path / LOCK).exists()
    with run_folder.held(str(tmp_path), Rank(is_main=False, others=0)):
        assert not (tmp_path / LOCK).exists()
    with pytest.raises(SystemExit), run_folder.held(str(tmp_path), Rank(is_main=False, others=1)):
        pass
    main = Rank(is_main=True, others=0)
    with holder(tmp_path), pytest.raises(UserError, match="is in use"), run_folder.held(str(tmp_path), main):
        pass
