"""How a run is carried out."""

from dataclasses import dataclass

from vit_tickets.pipeline.geometry.images import MAX_PIXELS
from vit_tickets.pipeline.system.fields import COUNT, NOT_NEGATIVE, Epochs, option


@dataclass(frozen=True)
class Options:
    """How a run is carried out, as opposed to what it is. Options of `train` are documented by their help."""

    #: Loader processes of this rank; 0 reads in the training process.
    workers: int = 0
    skip_errors: bool = option(
        "Leave out images that cannot be decoded instead of stopping.", default=False, is_flag=True
    )
    max_pixels: int = option("Larger images are errors.", default=MAX_PIXELS, type=COUNT, show_default=True)
    checkpoint_minutes: float = option(
        "Save last.pt this often, and at SIGTERM, SIGINT and SIGUSR1; 0: after every step.",
        default=10.0,
        type=NOT_NEGATIVE,
        show_default=True,
    )
    keep_epochs: tuple[int, ...] = option(
        "Keep the weights that the run has before the first step of these epochs, counted from 0, as "
        "RUN/epoch-0005.safetensors. A list, such as 0,5.",
        default=(),
        type=Epochs(),
        metavar="K,...",
    )
    #: Whether to show a progress bar.
    progress: bool = True
    grad_accum: int = option(
        "Pass a step's batch in so many parts, to save memory: the same loss and gradient, but batch norm's "
        "statistics and drop path's draws are each part's.",
        default=1,
        type=COUNT,
        show_default=True,
    )
    channels_last: bool = option(
        "Keep network and images in this memory format: faster convolutions on GPUs.", default=False, is_flag=True
    )
    compile: bool = option(
        "torch.compile the training pass: minutes at the start for faster steps.", default=False, is_flag=True
    )
