"""Which worker of pytest-xdist runs what.

pytest-xdist 3.8 looks for groups in the names of tests, where pytest 9.2 does not let it write them: it would give
every test to the next worker that is free, and the fixtures of a file would be made by all of them.
"""

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

GROUP = re.compile(r"""\bxdist_group\(["'](\w+)["']\)""")


class ByFile(LoadScopeScheduling):
    """A whole file to one worker, and all files whose `pytestmark` names the same group; in the order of collection,
    in which light files come last."""

    def __init__(self, config, log=None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False
        self._group_of = cache(self._read_group)

    def _split_scope(self, nodeid: str) -> str:
        return self._group_of(nodeid.partition("::")[0])

    def _read_group(self, file: str) -> str:
        found = GROUP.search(Path(self.config.rootpath, file).read_text())
        return found[1] if found else file
