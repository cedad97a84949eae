"""Name, folder and sizes (in pixels) of the built-in dataset, without the slow imports of `digits`, which draws it."""

NAME = "digits"
FOLDER = "data/digits"
IMAGE_SIZE = 48
PATCH_SIZE = 8
