"""Tickets as one file to publish, and the way back to a manifest."""
