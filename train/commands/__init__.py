"""The commands train, evaluate, report, sweep and table."""
