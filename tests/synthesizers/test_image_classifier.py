"""The plain classifier: it learns what there is to learn, on images of any size, and a seed decides how."""

from __future__ import annotations

import pytest
import torch

from synthkit.synthesizers.image_classifier import learn, plain_classifier


def halves(count: int, height: int, width: int, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that are bright on one side, and which."""
    draws = torch.Generator().manual_seed(3)
    labels = torch.randint(2, (count,), generator=draws)
    pixels = torch.randint(60, (count, channels, height, width), generator=draws)
    bright = (torch.arange(width) >= width // 2).long()
    where = torch.where(labels[:, None] == 1, bright, 1 - bright)  # (n, w)
    return (pixels + 120 * where[:, None, None, :]).to(torch.uint8), labels


@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, 1), (5, 9, 1), (64, 48, 3), (1, 8, 1)])
def test_it_learns_which_side_is_bright(height: int, width: int, channels: int) -> None:
    torch.manual_seed(0)
    pixels, labels = halves(400, height, width, channels)
    seen = []
    network = learn(
        plain_classifier(channels, height, width, 2), pixels[:300], labels[:300], 6, after=lambda: seen.append(1)
    )
    assert len(seen) == 6 and not network.training
    with torch.no_grad():
        right = (network(pixels[300:].float() / 255).argmax(dim=1) == labels[300:]).float().mean()
    assert right > 0.95


def test_a_seed_decides_everything() -> None:
    pixels, labels = halves(100, 8, 8, 1)

    def trained(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        network = learn(plain_classifier(1, 8, 8, 2), pixels, labels, 2)
        with torch.no_grad():
            found: torch.Tensor = network(pixels.float() / 255)
        return found

    assert torch.equal(trained(5), trained(5))
    assert not torch.equal(trained(5), trained(6))
