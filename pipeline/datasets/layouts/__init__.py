"""Layouts: where the splits of a source lie, and which of them are packed."""
