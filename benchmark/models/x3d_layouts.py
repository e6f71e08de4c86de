"""How PySlowFast, pytorchvideo and mmaction2 name the weights of an X3D."""

import torch
from torch import Tensor

from .layouts import Layout

_SKIP_NORM = "layer1.0.downsample.1"
_EPS = 1e-5

_STAGES = tuple((rf"\bs{index + 1}\.pathway0_res(\d+)\.", rf"layer{index}.\1.") for index in range(1, 5))


def _matrices(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fully connected layers that were written as 1x1x1 convolutions become matrices."""
    linear = (".se.fc1.weight", ".se.fc2.weight", "fc1.weight")
    return {key: value.flatten(1) if key.endswith(linear) else value for key, value in state.items()}


def _with_skip_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pytorchvideo's first skip convolution has no batch norm, for its width stays; ours has one, which then does nothing."""
    channels = len(state["layer1.0.downsample.0.weight"])
    norm = {
        "weight": torch.ones(channels),
        "bias": torch.zeros(channels),
        "running_mean": torch.zeros(channels),
        "running_var": torch.full((channels,), 1 - _EPS),
    }
    return _matrices(state) | {f"{_SKIP_NORM}.{key}": value for key, value in norm.items()}


LAYOUTS = (
    Layout(
        "mmaction2",
        marker=r"^backbone\.conv1_s\.",
        rename=(
            (r"^backbone\.", ""),
            (r"^cls_head\.", ""),
            (r"\bconv1_s\.conv\.", "conv1_s."),
            (r"\bconv1_t\.conv\.", "conv1_t."),
            (r"\bconv1_t\.bn\.", "bn1."),
            (r"\bconv(\d)\.conv\.", r"conv\1."),
            (r"\bconv(\d)\.bn\.", r"bn\1."),
            (r"\bdownsample\.conv\.", "downsample.0."),
            (r"\bdownsample\.bn\.", "downsample.1."),
            (r"\bse_module\.", "se."),
        ),
        drop=r"^data_preprocessor\.",
        convert=_matrices,
        input={"std": (57.38 / 255, 57.38 / 255, 57.38 / 255)},
    ),
    Layout(
        "facebookresearch/SlowFast",
        marker=r"^s1\.pathway0_stem\.",
        rename=(
            (r"^s1\.pathway0_stem\.conv_xy\.", "conv1_s."),
            (r"^s1\.pathway0_stem\.conv\.", "conv1_t."),
            (r"^s1\.pathway0_stem\.bn\.", "bn1."),
            *_STAGES,
            (r"\bbranch1\.", "downsample.0."),
            (r"\bbranch1_bn\.", "downsample.1."),
            (r"\bbranch2\.a\.", "conv1."),
            (r"\bbranch2\.a_bn\.", "bn1."),
            (r"\bbranch2\.b\.", "conv2."),
            (r"\bbranch2\.b_bn\.", "bn2."),
            (r"\bbranch2\.c\.", "conv3."),
            (r"\bbranch2\.c_bn\.", "bn3."),
            (r"\bbranch2\.se\.", "se."),
            (r"^head\.conv_5\.", "conv5."),
            (r"^head\.conv_5_bn\.", "bn5."),
            (r"^head\.lin_5\.", "fc1."),
            (r"^head\.projection\.", "fc2."),
        ),
        convert=_matrices,
    ),
    Layout(
        "pytorchvideo",
        marker=r"^blocks\.\d+\.",
        rename=(
            # Here `conv_t` is the spatial convolution and `conv_xy` the temporal one.
            (r"^blocks\.0\.conv\.conv_t\.", "conv1_s."),
            (r"^blocks\.0\.conv\.conv_xy\.", "conv1_t."),
            (r"^blocks\.0\.norm\.", "bn1."),
            (r"^blocks\.(\d)\.res_blocks\.(\d+)\.", r"layer\1.\2."),
            (r"\bbranch1_conv\.", "downsample.0."),
            (r"\bbranch1_norm\.", "downsample.1."),
            (r"\bbranch2\.conv_a\.", "conv1."),
            (r"\bbranch2\.norm_a\.", "bn1."),
            (r"\bbranch2\.conv_b\.", "conv2."),
            (r"\bbranch2\.norm_b\.0\.", "bn2."),
            (r"\bbranch2\.norm_b\.1\.block\.0\.", "se.fc1."),
            (r"\bbranch2\.norm_b\.1\.block\.2\.", "se.fc2."),
            (r"\bbranch2\.conv_c\.", "conv3."),
            (r"\bbranch2\.norm_c\.", "bn3."),
            (r"^blocks\.5\.pool\.pre_conv\.", "conv5."),
            (r"^blocks\.5\.pool\.pre_norm\.", "bn5."),
            (r"^blocks\.5\.pool\.post_conv\.", "fc1."),
            (r"^blocks\.5\.proj\.", "fc2."),
        ),
        convert=_with_skip_norm,
    ),
)
