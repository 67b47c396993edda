"""What the neural methods' models share: drawing rows, being saved with their marginals, being read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from synthkit.data.schema import Schema
from synthkit.errors import InputError
from synthkit.privacy.mechanisms.counts import NoisyMarginal
from synthkit.synthesizers.base import Synthetic, codes_of, finish, write_model_card
from synthkit.synthesizers.even import rows_where
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.networks import OneHot, seeded

if TYPE_CHECKING:
    from numpy.typing import NDArray


_DRAW = 8_192  # rows a forward pass


class Drawing(Protocol):
    """A network that draws rows of codes, of one class of the conditioning column or of all."""

    one_hot: OneHot
    condition: int | None

    def draw_classes(self, count: int, draws: torch.Generator) -> Tensor:
        """Codes of the conditioning column (count,), as often as measured."""

    def logits_of(self, classes: Tensor, draws: torch.Generator) -> Tensor:
        """Logits (b, width) for rows of some classes (b,)."""

    def draw(self, count: int, draws: torch.Generator, given: int | None = None) -> Tensor:
        """Sampled codes (count, d)."""


def drawn_codes(network: Drawing, count: int, draws: torch.Generator, given: int | None) -> Tensor:
    """Codes (count, d) of class ``given`` or of all, each column from its softmax."""
    parts = []
    for start in range(0, count, _DRAW):
        size = min(_DRAW, count - start)
        classes = network.draw_classes(size, draws) if given is None else torch.full((size,), given)
        codes = network.one_hot.draw(network.logits_of(classes, draws), draws)
        if network.condition is not None:
            codes[:, network.condition] = classes
        parts.append(codes)
    return torch.cat(parts) if parts else torch.zeros(0, len(network.one_hot.sizes), dtype=torch.int64)


def sampled(network: Drawing, schema: Schema, n: int, where: Mapping[str, Any] | None, seed: int | None) -> Synthetic:
    """``n`` rows; a condition on the conditioning column is met directly, others by rejection."""
    rng = np.random.default_rng(seed)
    draws = seeded(int(rng.integers(2**62)))
    wanted = codes_of(where or {}, schema)
    given = wanted.pop(network.condition, None) if network.condition is not None else None

    def draw(count: int) -> NDArray[np.integer]:
        codes: NDArray[np.integer] = network.draw(count, draws, given).numpy()
        return codes

    rows = rows_where(draw, n, wanted, network.one_hot.sizes, rng)
    return finish(rows, schema, rng, where or {})


def save_network(
    folder: Place,
    method: str,
    schema: Schema,
    network: nn.Module,
    marginals: Sequence[NoisyMarginal],
    parameters: Mapping[str, Any],
    beside: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the network's state, the marginals and what else was released ``beside`` them.

    ``parameters`` are what the network is built from.
    """
    from safetensors.torch import save

    tensors = {name: tensor.contiguous() for name, tensor in {**network.state_dict(), **(beside or {})}.items()}
    for j, marginal in enumerate(marginals):
        tensors[f"marginals.{j}"] = torch.from_numpy(marginal.counts).contiguous()
    listed = [{"columns": list(m.columns), "sigma": m.sigma} for m in marginals]
    write_model_card(folder, method, schema, {**parameters, "marginals": listed}, save(tensors))


def read_tensors(folder: Place, parameters: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[NoisyMarginal, ...]]:
    """A saved network's state, and the marginals beside it."""
    from safetensors.torch import load as load_bytes

    tensors = load_bytes((folder / "weights.safetensors").read_bytes())
    released = tuple(
        NoisyMarginal(tuple(entry["columns"]), tensors.pop(f"marginals.{j}").numpy(), float(entry["sigma"]))
        for j, entry in enumerate(parameters["marginals"])
    )
    return tensors, released


def set_state(network: nn.Module, tensors: Mapping[str, Tensor], folder: Place) -> None:
    """Give the network the state that was saved in ``folder``.

    Raises:
        InputError: it is another network's.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(f"{folder}: the weights do not fit the schema") from None


__all__ = ["drawn_codes", "read_tensors", "sampled", "save_network", "set_state"]
