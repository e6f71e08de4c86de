"""Depthwise 3-D convolutions whose gradient costs what the convolution costs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution with "same" padding, and its adjoint as another one.

    The adjoint of a depthwise convolution is the depthwise convolution with the mirrored kernel over the gradient, spread out by
    the stride. A CPU has a fast kernel for that one and a slow one for the general adjoint, ten times slower at stride 1.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...]) -> Tensor:
        return F.conv3d(x, weight, bias, stride, padding=_same(weight), groups=weight.shape[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, tuple[int, ...]], output: Tensor) -> None:
        x, weight, _, ctx.stride = inputs
        ctx.shape = x.shape
        # The input is kept only where the kernel is trained; an attack wants the gradient to the pixels alone.
        ctx.save_for_backward(weight, x if ctx.needs_input_grad[1] else None)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (grad,) = gradients
        weight, x = ctx.saved_tensors
        to_x: Any = None
        to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            mirrored = weight.flip(2, 3, 4)
            to_x = _Depthwise.apply(_spread(grad, ctx.shape[2:], ctx.stride), mirrored, None, (1, 1, 1))
        if ctx.needs_input_grad[1]:
            to_weight = _gradient_to_kernel(x, weight, grad, ctx.stride)
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum(dim=(0, 2, 3, 4))
        return to_x, to_weight, to_bias, None


class DepthwiseConv3d(nn.Conv3d):
    """A 3-D convolution per channel with odd kernels and "same" padding; names and sums of `nn.Conv3d`."""

    def __init__(self, channels: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)) -> None:
        """Builds it without a bias.

        Args:
            channels: Channels, each with a kernel of its own.
            kernel: Size over frames, height and width, each odd.
            stride: Likewise.
        """
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        super().__init__(channels, channels, kernel, stride, padding, groups=channels, bias=False)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type != "cpu":
            return super()._conv_forward(input, weight, bias)
        if torch.is_autocast_enabled("cpu"):  # its own gradient is outside of autocast, and must find the two alike
            kind = torch.get_autocast_dtype("cpu")
            input, weight = input.to(kind), weight.to(kind)
        out: Any = _Depthwise.apply(input, weight, bias, self.stride)
        return out


def _same(weight: Tensor) -> list[int]:
    return [size // 2 for size in weight.shape[2:]]


def _gradient_to_kernel(x: Tensor, weight: Tensor, grad: Tensor, stride: tuple[int, ...]) -> Tensor:
    unused = [1, 1, 1], False, [0, 0, 0]  # dilation, transposed, output padding
    mask = [False, True, False]
    return torch.ops.aten.convolution_backward(grad, x, weight, None, stride, _same(weight), *unused, weight.shape[0], mask)[1]


def _spread(grad: Tensor, shape: torch.Size, stride: tuple[int, ...]) -> Tensor:
    """A gradient on the grid of the input: zeros between the places where the convolution looked."""
    if all(step == 1 for step in stride):
        return grad
    last = grad.is_contiguous(memory_format=torch.channels_last_3d)
    order = torch.channels_last_3d if last else torch.contiguous_format
    out = torch.empty(*grad.shape[:2], *shape, dtype=grad.dtype, memory_format=order).zero_()
    t, h, w = stride
    out[:, :, ::t, ::h, ::w] = grad
    return out
