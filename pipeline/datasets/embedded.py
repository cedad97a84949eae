"""What the embedded dataset is called, and its sizes in pixels; `digits` draws it, which takes longer to import."""

NAME = "digits"
FOLDER = "data/digits"
IMAGE_SIZE = 48
PATCH_SIZE = 8
