"""DECODE: what trains the decoder of :mod:`~synthkit.synthesizers.image_moments`, on released values and public images.

The loss is the sum of four:

    follow   the image's code is the drawn one
    teach    the judge gives the image its class, and finds it typical of it
    learn    a chosen public image comes back from its code
    critic   small patches look like patches of chosen public images (hinge loss, arXiv:1705.02894)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthkit.synthesizers.image_drawer import Drawer
from synthkit.synthesizers.image_model import initialize_decoder

Adversary = Callable[[Tensor, Tensor], Tensor]  # energies (b, e) and classes (b,) of drawn images to a loss ()
CALM = 0.2  # by which log likelihoods are multiplied: energies are not as independent as their Gaussians have it
_DRAWN, _PUBLIC = 64, 24  # images a step
_RATE, _AVERAGE = 3e-3, 0.01
_FOLLOW, _TEACH, _TYPICAL, _LEARN, _CRITIC = 0.1, 0.05, 0.1, 10.0, 0.1  # weights of the losses


def train(
    network: Drawer,
    chosen: Tensor,
    steps: int,
    draws: torch.Generator,
    progress: Callable[[float], None],
    rate: float = _RATE,
    adversary: Adversary | None = None,
) -> None:
    """DECODE: the decoder of ``network``, on chosen public images and on codes of the classes.

    Args:
        network: its decoder is trained, the rest is not.
        chosen: public images (n, C, h, w).
        steps: how many.
        draws: all chance.
        progress: told the share that is done.
        rate: of learning, at its highest.
        adversary: asked at every step for one more loss.
    """
    decoder = network.decoder.requires_grad_(True)
    critic = _critic(chosen.shape[1], draws)
    forger = torch.optim.Adam(decoder.parameters(), rate, betas=(0.8, 0.99))
    expert = torch.optim.Adam(critic.parameters(), 1e-3, betas=(0.5, 0.99))
    average = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    width, reach = network.means.shape[1], network.codes.radius**2
    with torch.no_grad():
        places = torch.cat([network.codes(part) for part in chosen.split(500)])
    for step in range(steps):
        for group in forger.param_groups:
            group["lr"] = rate * max(0.02, min(1, step / 50) * (1 - step / steps))
        picked = torch.randint(len(chosen), (_PUBLIC,), generator=draws)
        classes = torch.multinomial(network.shares, _DRAWN, replacement=True, generator=draws)
        others = torch.randint(len(network.shares), (_PUBLIC,), generator=draws)
        codes = network.draw_codes(classes, draws)
        images = network.decode(torch.cat([places[picked], codes]), torch.cat([others, classes]))
        back, drawn = images[:_PUBLIC], images[_PUBLIC:]
        energies = network.energies(drawn)
        distances = network.distances(energies)
        own = distances.gather(1, classes[:, None])[:, 0] / width
        gap = network.codes.places(drawn) - codes
        loss = (
            _FOLLOW * reach * gap.square().sum(dim=1).mean()
            + _TEACH * F.cross_entropy(CALM * network.likelihoods(distances), classes)
            + _TYPICAL * F.relu(own - 0.8).mean()
            + _LEARN * (back - chosen[picked]).square().mean()
            - _CRITIC * critic(drawn).mean()
        )
        if adversary is not None:
            loss = loss + adversary(energies, classes)
        forger.zero_grad()
        loss.backward()
        forger.step()
        for name, tensor in decoder.state_dict().items():
            average[name].lerp_(tensor, _AVERAGE if step > 100 or adversary is not None else 1.0)
        real = chosen[torch.randint(len(chosen), (_DRAWN,), generator=draws)]
        doubt = F.relu(1 - critic(real)).mean() + F.relu(1 + critic(drawn.detach())).mean()
        expert.zero_grad()
        doubt.backward()
        expert.step()
        if step % 20 == 0:
            progress(step / steps)
    decoder.load_state_dict(average)
    decoder.requires_grad_(False)


def _critic(channels: int, draws: torch.Generator) -> nn.Module:
    """Scores of small patches: (b, C, h, w) to (b, 1, h / 2, w / 2)."""
    with torch.random.fork_rng(devices=[]):
        critic = nn.Sequential(
            nn.Conv2d(channels, 24, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(24, 48, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(48, 1, 3, 1, 1),
        )
    initialize_decoder(critic, draws)
    return critic


__all__ = ["CALM", "Adversary", "train"]
