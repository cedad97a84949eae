"""Long trials of what must never happen: a sample twice, a hang, other weights after a kill, memory that grows."""
