"""A plain classifier that learns from images alone: what judges styles, what assessments train, how explanations train theirs.

One network and one way of training it, so that the style chosen for a release is the one that teaches what others
will train on it. Two convolutions with pooling, a hidden layer, dropout; Adam under one cycle of its rate (Smith and Topin
2019, arXiv:1708.07120). Nothing here is private: it sees images that were released or drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH = 128
_RATE = 3e-3  # at its highest
_CELLS = 7  # a side, at most, that the hidden layer sees


def plain_classifier(channels: int, height: int, width: int, classes: int) -> nn.Module:
    """Untrained: images (b, C, h, w) in [0, 1] to logits (b, K). Its weights come from torch's global generator."""
    high, wide = min(-(-height // 4), _CELLS), min(-(-width // 4), _CELLS)
    network = nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.AdaptiveAvgPool2d((high, wide)),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * high * wide, 128),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(128, classes),
    )
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third quicker image by image
    return network


def learn(
    network: nn.Module, pixels: Tensor, labels: Tensor, epochs: int, *, after: Callable[[], None] | None = None
) -> nn.Module:
    """Train a classifier in place and give it back, in evaluation mode. All chance comes from torch's global generator.

    Args:
        network: images (b, C, h, w) in [0, 1] to logits (b, K).
        pixels: uint8 (n, C, h, w).
        labels: places of classes, (n,) of any integer type.
        epochs: passes over the images.
        after: called after every epoch, with the network in whatever mode it leaves it.
    """
    learner = torch.optim.Adam(network.parameters(), _RATE)
    steps = epochs * -(-len(labels) // BATCH)
    pace = torch.optim.lr_scheduler.OneCycleLR(learner, _RATE, total_steps=steps)
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(len(labels)).split(BATCH):
            loss = F.cross_entropy(network(pixels[batch].float() / 255), labels[batch].long())
            learner.zero_grad()
            loss.backward()
            learner.step()
            pace.step()
        if after:
            after()
    return network.eval()


__all__ = ["BATCH", "learn", "plain_classifier"]
