"""Files, errors, locks, signals, progress and the local Ray session: what every other folder stands on."""
