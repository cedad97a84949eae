"""The ResNets of He et al. 2016, section 4.2, for images of 32 pixels."""

from timm.models.resnet import BasicBlock, ResNet
from torch import nn

WIDTHS = (16, 32, 64)


class CifarResNet(ResNet):
    """Three stages of `(depth - 2) / 6` basic blocks of 16, 32 and 64 channels, after one 3x3 convolution.

    A 1x1 convolution carries the shortcut where the width changes (their option B; their CIFAR networks pad with zeros,
    option A): 2,752 parameters more, whatever the depth.
    """

    def __init__(self, depth: int, **kwargs):
        layers = ((depth - 2) // 6,) * 3
        # of timm's stems, only a deep one has another width than 64; it is then replaced
        stem = {"stem_type": "deep", "stem_width": WIDTHS[0] // 2}
        super().__init__(BasicBlock, layers, channels=WIDTHS, zero_init_last=False, **stem, **kwargs)
        self.conv1 = nn.Conv2d(3, WIDTHS[0], kernel_size=3, padding=1, bias=False)
        self.maxpool, self.layer4 = nn.Identity(), nn.Identity()
        self.init_weights(zero_init_last=False)
