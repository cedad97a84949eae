"""Patches, views and crops: where in an image a patch lies, and how pixels are read."""
