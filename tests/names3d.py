"""Our 3-D ResNets' weights under mmaction2's names, for tests that need a file of its and not its figures."""

import re

import torch

MMACTION = (
    (r"^lateral\.0\.conv\.", "slow_path.conv1_lateral.conv."),
    (r"^lateral\.(\d)\.conv\.", r"slow_path.layer\1_lateral.conv."),
    (r"\bdownsample\.0\.", "downsample.conv."),
    (r"\bdownsample\.1\.", "downsample.bn."),
    (r"\bnon_local\.(g|phi)\.", r"non_local_block.\1.0.conv."),
    (r"\bnon_local\.theta\.", "non_local_block.theta.conv."),
    (r"\bnon_local\.out\.", "non_local_block.conv_out.conv."),
    (r"\bnon_local\.norm\.", "non_local_block.conv_out.bn."),
    (r"(?<=\d\.)conv(\d)\.(?!conv|bn|\d)", r"conv\1.conv."),
    (r"(?<=\d\.)bn(\d)\.", r"conv\1.bn."),
    (r"^((?:slow|fast)_path\.)?conv1\.", r"\1conv1.conv."),
    (r"^((?:slow|fast)_path\.)?bn1\.", r"\1conv1.bn."),
    (r"^", "backbone."),
    (r"^backbone\.fc\.", "cls_head.fc_cls."),
)


def save_mmaction(net, path, first=()):
    """A checkpoint of mmaction2 1.x with a network's weights; the rules `first` go before the common ones.

    Of a network on the meta device only the shapes are kept: every tensor repeats one zero, which takes no room.
    """
    state = {"data_preprocessor.mean": torch.zeros(3, 1, 1, device="cpu")}
    for key, value in net.state_dict().items():
        for pattern, replacement in (*first, *MMACTION):
            key = re.sub(pattern, replacement, key)
        zero = torch.zeros((), dtype=value.dtype, device="cpu")
        state[key] = zero.expand(value.shape) if value.is_meta else value
    torch.save({"meta": {"epoch": 3}, "state_dict": state}, path)
