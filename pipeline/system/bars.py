"""The progress bar of all commands."""

import sys

from tqdm import tqdm

IN_A_FILE_S = 30.0  # between two redraws, where each one stays


class Bar(tqdm):
    """tqdm's, with its arguments; where stderr is no terminal, it is drawn at the start, seldom, and at the end."""

    def __init__(self, *args, **options):
        if not sys.stderr.isatty():
            options = {"mininterval": IN_A_FILE_S, "maxinterval": IN_A_FILE_S} | options
        super().__init__(*args, **options)
