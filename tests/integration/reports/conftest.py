"""A browser for the tests of the page."""

import pytest

from tests import chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = chromium.find()
    if program is None:
        pytest.skip(f"no Chromium on PATH, and {chromium.VARIABLE} names none")
    tab = chromium.Chromium(program, tmp_path_factory.mktemp("profile"))
    yield tab
    tab.close()
