"""The progress bar of all commands."""

import sys
from typing import Any

from tqdm import tqdm

IN_A_FILE_S = 30.0  # between two redraws if stderr is no terminal: every redraw adds a line to the log


class Bar(tqdm):
    """tqdm's progress bar. If stderr is no terminal, it is redrawn only every `IN_A_FILE_S` seconds and at the end."""

    def __init__(self, *args: Any, **options: Any):
        if not sys.stderr.isatty():
            options = {"mininterval": IN_A_FILE_S, "maxinterval": IN_A_FILE_S} | options
        super().__init__(*args, **options)
