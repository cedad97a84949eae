"""Reports as text, as a figure, as the paper's table."""
