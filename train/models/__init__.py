"""Models that train on fewer patches."""
