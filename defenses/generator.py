"""The networks of 3-D APE-GAN: a generator that makes a clip anew, and a discriminator that tells made clips from true ones."""

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """Three convolutions of stride 2 and three transposed ones, with batch norm and leaky ReLU, then a sigmoid.

    The ReLUs' slope is 0.2 here as in the discriminator; the released generator's is 0.01, with which a narrow one learns less.

    Between its halves a clip has an eighth of its frames, rows and columns: 4 `width` channels of them. Clips of any size are
    continued to multiples of 8 by their last frame, row and column. It is born the same every time.

    Args:
        width: Channels after the first convolution; the published 64.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (3, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in zip(channels, channels[1:], strict=False):
            layers += [nn.Conv3d(before, after, 4, 2, 1), nn.BatchNorm3d(after), nn.LeakyReLU(0.2, inplace=True)]
        for before, after in zip(channels[:1:-1], channels[-2:0:-1], strict=True):
            layers += [nn.ConvTranspose3d(before, after, 4, 2, 1), nn.BatchNorm3d(after), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose3d(width, 3, 4, 2, 1), nn.Sigmoid())
        initialise(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (N, 3, T, H, W) in [0, 1] as it would have them: the same shape and range."""
        frames, height, width = clips.shape[2:]
        # With the channels last, so few of them are faster on a CPU.
        whole = continued(clips, 8).contiguous(memory_format=torch.channels_last_3d)
        return self.layers(whole)[:, :, :frames, :height, :width].to(clips.dtype).contiguous()


class Discriminator(nn.Module):
    """Four convolutions of stride 2 with batch norm and leaky ReLU, the mean over all positions, and one score.

    The mean stands in place of the published layer that is connected to every position, which fits 16 frames of 112 x 112 pixels
    alone. It is born the same every time.

    Args:
        width: Channels after the first convolution; the published 64.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (3, width, 2 * width, 4 * width, 8 * width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv3d(before, after, 4, 2, 1, bias=False), nn.BatchNorm3d(after), nn.LeakyReLU(0.2, inplace=True))
            for before, after in zip(channels, channels[1:], strict=False)
        )
        self.head = nn.Linear(8 * width, 1)
        initialise(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Scores (N,) of clips (N, 3, T, H, W): the logarithm of the odds that a clip is a true one."""
        x = clips.contiguous(memory_format=torch.channels_last_3d)
        for block in self.blocks:
            x = block(continued(x, 2))  # a short clip has a single frame left before the last convolution
        return self.head(x.mean(dim=(2, 3, 4))).squeeze(1)


def continued(clips: Tensor, multiple: int) -> Tensor:
    """Clips (N, C, T, H, W) with their last frame, row and column repeated until T, H and W are multiples of a number.

    Sums of whole slices go back in its gradient, which is the same every time on a GPU too, unlike that of `pad`.
    """
    for dim in (2, 3, 4):
        missing = -clips.shape[dim] % multiple
        if missing:
            shape = [missing if place == dim else size for place, size in enumerate(clips.shape)]
            clips = torch.cat([clips, clips.narrow(dim, clips.shape[dim] - 1, 1).expand(shape)], dim=dim)
    return clips


def initialise(network: nn.Module) -> None:
    """Weights from N(0, 0.02) and norms' scales from N(1, 0.02), as published; biases 0. Always the same draws."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d, nn.Linear, nn.BatchNorm3d)):
            nn.init.normal_(layer.weight, float(isinstance(layer, nn.BatchNorm3d)), 0.02, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
