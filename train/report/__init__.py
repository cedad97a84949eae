"""The report: text, figure and table."""
