"""A small DnCNN: a residual network that takes Gaussian noise out of frames."""

import torch
from torch import Tensor, nn


class DnCNN(nn.Module):
    """Frame by frame: the frame minus the noise that a stack of convolutions finds in it (Zhang et al. 2017, section 3).

    Before training it changes nothing: the last layer is 0, all others orthogonal, the same ones every time.

    Args:
        depth: Convolutions.
        width: Channels between them.
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1))
        generator = torch.Generator().manual_seed(0)
        convolutions = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        for layer in convolutions:
            nn.init.orthogonal_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(convolutions[-1].weight)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (N, 3, T, H, W) without what it takes for noise, of the same shape; nothing is cut to [0, 1]."""
        frames = clips.transpose(1, 2).flatten(0, 1)
        # With the channels last, convolutions of so few of them are faster on a CPU.
        noise = self.layers(frames.contiguous(memory_format=torch.channels_last))
        return clips - noise.unflatten(0, (len(clips), -1)).transpose(1, 2)
