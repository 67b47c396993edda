"""Small torch modules that the tabular methods share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class OneHot:
    """Codes (b, d) to one-hot rows (b, width) and logits (b, width) to codes, by domain sizes."""

    def __init__(self, domain: Mapping[str, int]) -> None:
        self.names = tuple(domain)
        self.sizes = tuple(domain.values())
        self.width = sum(self.sizes)
        self.starts = tuple(sum(self.sizes[:j]) for j in range(len(self.sizes)))

    def encode(self, codes: Tensor) -> Tensor:
        """(b, d) int64 to (b, width) float32."""
        rows = torch.zeros(len(codes), self.width, device=codes.device)
        offsets = torch.tensor(self.starts, device=codes.device)
        return rows.scatter_(1, codes + offsets, 1.0)

    def blocks(self, rows: Tensor) -> list[Tensor]:
        """(b, width) to one (b, size) a column."""
        return list(rows.split(self.sizes, dim=1))

    def shares(self, logits: Tensor) -> Tensor:
        """Logits to probabilities, column by column: (b, width)."""
        return torch.cat([block.softmax(dim=1) for block in self.blocks(logits)], dim=1)

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Sample every column from its softmax: (b, width) to codes (b, d). Never the argmax."""
        gumbel = -torch.log(-torch.log(torch.rand(logits.shape, generator=generator).clamp(1e-10, 1 - 1e-7)))
        return torch.stack([block.argmax(dim=1) for block in self.blocks(logits + gumbel)], dim=1)


class Residual(nn.Module):
    """x + MLP(x), layer-normalized: looks at one row at a time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, rows: Tensor) -> Tensor:
        """(b, width) to (b, width)."""
        moved: Tensor = rows + self.body(rows)
        return moved


def initialize(network: nn.Module, draws: torch.Generator) -> None:
    """Uniform weights and biases within 1/sqrt(inputs) for every linear layer, from ``draws``."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            for parameter in module.parameters(recurse=False):
                nn.init.uniform_(parameter, -bound, bound, generator=draws)


def seeded(seed: int) -> torch.Generator:
    """A torch generator of its own; the global one is never touched."""
    return torch.Generator().manual_seed(seed % 2**63)


__all__ = ["OneHot", "Residual", "initialize", "seeded"]
