"""Files, errors, locks, signals, progress bars and Ray sessions: used by all other folders."""
