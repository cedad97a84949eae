"""How a run is carried out."""

from dataclasses import dataclass

from vit_tickets.pipeline.geometry.images import MAX_PIXELS


@dataclass(frozen=True)
class Options:
    """How a run is carried out, as opposed to what it is.

    Attributes:
        workers: loader processes of this rank; 0 reads in the training process.
        skip_errors: leave out images that cannot be decoded instead of stopping.
        max_pixels: larger images are errors.
        checkpoint_minutes: time between two saves of `last.pt`; 0 saves after every step.
        progress: show a progress bar.
        grad_accum: parts in which the batch of a step is passed.
        channels_last: memory format of the network and its images.
        compile: compile the training pass.
    """

    workers: int
    skip_errors: bool = False
    max_pixels: int = MAX_PIXELS
    checkpoint_minutes: float = 10.0
    progress: bool = True
    grad_accum: int = 1
    channels_last: bool = False
    compile: bool = False
