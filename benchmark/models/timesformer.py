"""TimeSformer: a vision transformer that attends over time and over space by turns (Bertasius, Wang, Torresani, ICML 2021)."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import TimesformerConfig, TimesformerForVideoClassification

from ..core.interfaces import InputSpec
from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Architecture, Family, Preset
from .layouts import Layout

_BASE = InputSpec(
    frames=8,
    size=224,
    short_side=224,
    sampler="dense",
    interval=32,
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    rate=30.0,
    resize="bilinear",
)

_ROSE = (12, 4), (12, 6), (12, 8), (12, 10), (12, 12), (16, 6), (14, 7), (10, 10), (9, 12)
"""Frames and their distance in the video's own frames, of the winner of ROSE 2022 (tables 5 and 6)."""

_EMBEDDINGS = r"timesformer.embeddings."
_LAYER = r"timesformer.encoder.layer.\1."

_AUTHORS = Layout(
    "facebookresearch/TimeSformer",
    marker=r"^model\.blocks\.",
    rename=(
        (r"^model\.cls_token$", f"{_EMBEDDINGS}cls_token"),
        (r"^model\.pos_embed$", f"{_EMBEDDINGS}position_embeddings"),
        (r"^model\.time_embed$", f"{_EMBEDDINGS}time_embeddings"),
        (r"^model\.patch_embed\.proj\.", f"{_EMBEDDINGS}patch_embeddings.projection."),
        (r"^model\.norm\.", "timesformer.layernorm."),
        (r"^model\.head\.", "classifier."),
        (r"^model\.blocks\.(\d+)\.", _LAYER),
        (r"\.temporal_attn\.qkv\.", ".temporal_attention.attention.qkv."),
        (r"\.temporal_attn\.proj\.", ".temporal_attention.output.dense."),
        (r"\.temporal_norm1\.", ".temporal_layernorm."),
        (r"\.temporal_fc\.", ".temporal_dense."),
        (r"\.attn\.qkv\.", ".attention.attention.qkv."),
        (r"\.attn\.proj\.", ".attention.output.dense."),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
    ),
)

_MMACTION = Layout(
    "mmaction2",
    marker=r"^backbone\.transformer_layers\.",
    rename=(
        (r"^backbone\.cls_token$", f"{_EMBEDDINGS}cls_token"),
        (r"^backbone\.pos_embed$", f"{_EMBEDDINGS}position_embeddings"),
        (r"^backbone\.time_embed$", f"{_EMBEDDINGS}time_embeddings"),
        (r"^backbone\.patch_embed\.projection\.", f"{_EMBEDDINGS}patch_embeddings.projection."),
        (r"^backbone\.norm\.", "timesformer.layernorm."),
        (r"^cls_head\.fc_cls\.", "classifier."),
        (r"^backbone\.transformer_layers\.layers\.(\d+)\.", _LAYER),
        (r"\.attentions\.0\.norm\.", ".temporal_layernorm."),
        (r"\.attentions\.0\.attn\.in_proj_", ".temporal_attention.attention.qkv."),
        (r"\.attentions\.0\.attn\.out_proj\.", ".temporal_attention.output.dense."),
        (r"\.attentions\.0\.temporal_fc\.", ".temporal_dense."),
        (r"\.attentions\.1\.norm\.", ".layernorm_before."),
        (r"\.attentions\.1\.attn\.in_proj_", ".attention.attention.qkv."),
        (r"\.attentions\.1\.attn\.out_proj\.", ".attention.output.dense."),
        (r"\.ffns\.0\.norm\.", ".layernorm_after."),
        (r"\.ffns\.0\.layers\.0\.0\.", ".intermediate.dense."),
        (r"\.ffns\.0\.layers\.1\.", ".output.dense."),
    ),
    drop=r"^data_preprocessor\.",
    input={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "rate": 0.0},
)


class Attention(nn.Module):
    """Transformers' self-attention without the stored weights: at 448 pixels they take 6 GB for one clip's gradient."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.qkv = theirs.qkv
        self.heads = theirs.num_heads

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor]:
        """(N, L, C) to the same shape, in the tuple that transformers expects."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return (F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2),)


class TimeSformerNet(TimesformerForVideoClassification):
    """Transformers' network with its names; clips (N, T, 3, H, W) of exactly its T, H and W to logits (N, K)."""

    def __init__(self, classes: int, frames: int, size: int, **changes: Any) -> None:
        """Builds the network.

        Args:
            classes: Number of classes K.
            frames: Frames T.
            size: Height and width, pixels.
            **changes: What differs from ViT-B/16 with divided attention, by the names of `TimesformerConfig`.
        """
        settings: dict[str, Any] = {"num_labels": classes, "num_frames": frames, "image_size": size}
        super().__init__(TimesformerConfig(**settings, **changes))
        layers: Any = self.timesformer.encoder.layer
        for layer in layers:
            for attention in (layer.attention, layer.temporal_attention):
                attention.attention = Attention(attention.attention)
        # Zero, as in both code bases, would leave an untrained network blind to the order of frames; it learns the direction of a
        # motion only where its tokens tell their frames apart from the start.
        nn.init.normal_(self.timesformer.embeddings.time_embeddings, std=0.5)

    def forward(self, clips: Tensor) -> Tensor:  # type: ignore[override]
        """Logits (N, K) of clips (N, T, 3, H, W)."""
        out: Any = super().forward(clips)
        return out.logits


def _sized(about: str, spec: InputSpec, **changes: Any) -> Preset:
    return Preset(about, lambda classes: TimeSformerNet(classes, spec.frames, spec.size, **changes), spec, fixed=True)


def _rose(frames: int, interval: int) -> Preset:
    return _sized(f"a TimeSformer of {frames} frames", replace(_BASE, frames=frames, interval=interval, rate=0.0))


FAMILY = Family(
    name="timesformer",
    paper="Bertasius, Wang, Torresani: Is Space-Time Attention All You Need for Video Understanding?, ICML 2021",
    presets={
        "tiny": _sized(
            "a tiny TimeSformer",
            TINY_INPUT,
            patch_size=8,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            initializer_range=0.12,  # 1 / sqrt(hidden_size); transformers' 0.02, for 768, would leave attention almost even
        ),
        "base": _sized("a TimeSformer", _BASE),
        "hr": _sized("a TimeSformer-HR", replace(_BASE, frames=16, interval=16, size=448, short_side=448)),
        "large": _sized("a TimeSformer-L", replace(_BASE, frames=96, interval=4)),
        "large64": _sized("a TimeSformer-L of 64 frames", replace(_BASE, frames=64, interval=4)),
        **{f"{frames}x{interval}": _rose(frames, interval) for frames, interval in _ROSE},
    },
    layouts=(_AUTHORS, _MMACTION),
    head="classifier",
    layout="NTCHW",
)


@register("model", "timesformer")
@dataclass(frozen=True)
class TimeSformer(Architecture):
    """TimeSformer (Bertasius et al. 2021), divided attention; reads the authors', mmaction2's and transformers' checkpoints."""

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param(
        "tiny",
        help="size of the network",
        choices=(
            "tiny",
            "base",
            "hr",
            "large",
            "large64",
            "12x4",
            "12x6",
            "12x8",
            "12x10",
            "12x12",
            "16x6",
            "14x7",
            "10x10",
            "9x12",
        ),
    )
