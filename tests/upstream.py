"""Comparing our networks with installable ones that compute the same."""

import torch
from torch import nn


def randomise(net):
    """The network in double precision and eval mode, with weights and statistics under which every norm matters."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.2)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.double().eval()


def answers(net, clips):
    """Logits, and the gradient of the second class's to the clips."""
    clips = clips.detach().clone().requires_grad_()
    logits = net(clips)
    return logits.detach(), torch.autograd.grad(logits[:, 1].sum(), clips)[0]


def assert_same_answers(ours, theirs, clips, **tolerance):
    """Both networks must give the same logits and gradients."""
    for mine, literal in zip(answers(ours, clips), answers(theirs, clips), strict=True):
        torch.testing.assert_close(mine, literal, **tolerance)


def save_zeros(net, path):
    """A checkpoint of a network's names and shapes that takes no room: every tensor repeats one zero."""
    with torch.device("cpu"):
        state = {key: torch.zeros([], dtype=value.dtype).expand(value.shape) for key, value in net.state_dict().items()}
    torch.save(state, path)
