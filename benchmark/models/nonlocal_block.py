"""The non-local block: every position of a clip looks at every other one (Wang, Girshick, Gupta, He, CVPR 2018)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from .folding import conv_bn

Pairing = Literal["dot", "embedded", "gaussian"]


class NonLocal(nn.Module):
    """`z_i = x_i + norm(out(y_i))`, `y_i = sum_j f(x_i, x_j) g(x_j)` over positions in space and time (the paper's Eq. 1 and 6).

    Half of the channels inside; `g` and `phi` are max-pooled 2x2 in space (Sec. 3.3). The weights f sum to one over j where they
    are Gaussian (Eq. 2, and Eq. 3 embedded) and are divided by the number of positions j where they are dot products (Eq. 4).
    """

    def __init__(self, channels: int, pairing: Pairing = "dot") -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.pairing = pairing
        self.g = nn.Conv3d(channels, inner, kernel_size=1)
        if pairing != "gaussian":
            self.theta = nn.Conv3d(channels, inner, kernel_size=1)
            self.phi = nn.Conv3d(channels, inner, kernel_size=1)
        self.out = nn.Conv3d(inner, channels, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm3d(channels)
        self.pool = nn.MaxPool3d((1, 2, 2))
        # The block starts as an identity (Sec. 4.1): its answer is cubic in its input, and a deep untrained net would overflow.
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to the same shape; H and W of 2 or more."""
        embedded = self.pairing != "gaussian"
        values = _rows(self.pool(self.g(x)))
        keys = _rows(self.pool(self.phi(x) if embedded else x))
        queries = _rows(self.theta(x) if embedded else x)
        if self.pairing == "dot":
            # (queries keys^T) values, bracketed so that no positions x positions matrix is made.
            mixed = queries @ (keys.transpose(1, 2) @ values / keys.shape[1])
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return x + conv_bn(self.out, self.norm, mixed.transpose(1, 2).unflatten(2, x.shape[2:]))


def _rows(x: Tensor) -> Tensor:
    """(N, C, T, H, W) to one row per position, (N, T * H * W, C)."""
    return x.flatten(2).transpose(1, 2)
