"""Patches, views and crops: where on an image a patch lies, and how pixels are read."""
