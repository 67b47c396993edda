"""Noisy gradients of a network on private rows (DP-SGD).

Abadi et al. 2016 (arXiv:1607.00133), algorithm 1, over Opacus's per-sample gradients. A step:

    SAMPLE   every unit joins with probability q, on its own (Poisson sampling)
    CLIP     per unit: non-finite gradients become zero, longer ones are scaled to the clipping norm C,
             over all parameters together; everything in float64
    NOISE    the sum gets N(0, (z C)^2), rounded to a grid
    DIVIDE   by q times the public number of units, never by the size of the sample

Claim. A step costs ``PoissonSampledDpEvent(q, GaussianDpEvent(z))``.

Argument. A unit's contribution is a vector of norm <= C around zero that depends on that unit and
on the (public) weights alone; this needs a network that mixes no two rows of a batch, which is
tested on public rows before the first step. So the sum has radius C, and sampling is Poisson. An
empty sample is legal: its sum is zero, and noise is released all the same. Rounding and dividing
are post-processing. A float sum's rounding depends on all rows (Casacuberta et al. 2022,
arXiv:2207.10635). Adding n vectors of norm <= C in any order errs by at most n^2 u C, u = 2^-53: for
the 50,000 units that a step is expected to sample at most, in batches of 2,048, below 1e-8 C. Rows
are therefore clipped to (1 - 1e-6) C. In float32 the same bound is 0.5 C and more.

What Opacus 1.6 does otherwise, and why it isn't followed: its divisor comes from the number of rows
(issues 571, 819); one NaN record poisons a step; its validator lets batch-centring layers pass;
its noise is torch's float32 generator.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import dp_accounting
import numpy as np
import torch
from dp_accounting import DpEvent
from opacus.grad_sample import GradSampleModule
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from torch import Tensor, nn

from synthkit.data.encoding import Table, discretize
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Schema
from synthkit.errors import MethodError
from synthkit.privacy.plan import Charge
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

Loss = Callable[[nn.Module, Tensor], Tensor]
Encode = Callable[["NDArray[np.uint8]"], "NDArray[np.floating]"]

_SOURCE = "DP-SGD, Abadi et al. 2016 (arXiv:1607.00133), Poisson sampling"
_SLACK = 1 - 1e-6  # clip a little below C, so that float64 sums cannot exceed it
_PARITY = 1e-9  # largest relative gap between a batch's per-sample gradients and batches of one


def step_event(noise_multiplier: float, sample_rate: float) -> DpEvent:
    """The cost of one step."""
    return dp_accounting.PoissonSampledDpEvent(sample_rate, dp_accounting.GaussianDpEvent(noise_multiplier))


class NoisyGradients:
    """Noisy mean gradients of a per-row loss over a private table.

    Private gradients are computed on a float64 twin of the network, which takes over its weights at
    every step. The network itself is never hooked: losses on public (synthetic) rows can be
    differentiated as usual and added.
    """

    def __init__(
        self,
        data: Private[Table] | Private[Images, ImageSchema],
        session: Session,
        network: nn.Module,
        loss: Loss,
        *,
        encode: Encode | None = None,
        clipping_norm: float,
        noise_multiplier: float,
        sample_rate: float,
        clipping: Literal["hooks", "ghost"] = "hooks",
        physical_batch: int = 512,
        what: str = "discriminator",
    ) -> None:
        """
        Args:
            data: the rows, or images.
            session: charged ``step_event`` at every step.
            network: whose trainable parameters the gradients are of; it may not mix rows of a batch.
            loss: (network, codes (b, d) int64) to one loss a row (b,), each from its own row; it
                is given the twin, so it may not assume float32. Of images: (network, rows (b, w + 1) float64),
                what ``encode`` made of each, and its class last.
            encode: of images, and of them alone: one image's pixels uint8 (1, C, H, W) to numbers (1, w),
                by public functions. It is called once an image, one at a time.
            clipping_norm: C, L2 norm of a unit's gradient over all parameters.
            noise_multiplier: z, standard deviation of the noise as a multiple of C.
            sample_rate: q, in (0, 1].
            clipping: ``hooks`` keeps every row's gradient; ``ghost`` needs two passes and less
                memory (Li et al. 2022, arXiv:2110.05679), for units of a single row.
            physical_batch: rows processed at once; bounds memory, changes nothing else.
            what: which network it is, in public words.

        Raises:
            MethodError: the network mixes rows, ties weights, or has layers or losses (a gradient
                penalty, say) without per-sample gradients.
        """
        if not (0 < sample_rate <= 1 and clipping_norm > 0 and noise_multiplier > 0):
            raise MethodError("DP-SGD needs a sample rate in (0, 1], a clipping norm and a noise multiplier above 0")
        session.check(data)
        budget = session.plan.budget
        if clipping == "ghost" and budget.unit.max_rows > 1:
            raise MethodError("ghost clipping works on rows; for units of several rows use clipping: hooks")
        if (encode is None) == isinstance(data.schema, ImageSchema):
            raise MethodError("DP-SGD needs encode for images, and for them alone")
        self._encode, self._what = encode, what
        self._data, self._session, self._network, self._loss = data, session, network, loss
        self._norm, self._multiplier, self._rate = clipping_norm, noise_multiplier, sample_rate
        self._physical, self._ghost = physical_batch, clipping == "ghost"
        self._divisor = sample_rate * data.schema.units
        _refuse_tied_weights(network)
        self._twin = copy.deepcopy(network).double().train()
        self._parameters = [parameter for parameter in self._twin.parameters() if parameter.requires_grad]
        if self._ghost and _dropouts(self._twin):
            # The norm of one pass says nothing of the gradient of another that drops other neurons.
            raise MethodError(
                "ghost clipping computes a row's gradient twice, dropout differently each time; use hooks"
            )
        if not self._parameters:
            raise MethodError("the network has no trainable parameters; nothing to compute gradients of")
        self._device = self._parameters[0].device
        self._hooked = self._attach()
        self._prove_rows_apart(_public_rows(data, session, encode).to(self._device))
        self._codes: NDArray[np.int32] | NDArray[np.float64] | None = None
        self._members: list[NDArray[np.integer]] | None = None
        self._units = 0

    def step(self) -> list[Tensor]:
        """One noisy mean gradient, a tensor a trainable parameter. Leaves ``.grad`` untouched."""
        event = step_event(self._multiplier, self._rate)
        charge = Charge(event, "DP-SGD step", self._norm, _SOURCE, f"gradient of the {self._what}")
        self._session.charge(charge)
        self._open()
        self._twin.load_state_dict(self._network.state_dict())
        # SAMPLE
        joined = np.flatnonzero(self._session.noise.coins(self._units, self._rate))
        total = np.zeros(sum(parameter.numel() for parameter in self._parameters))
        for rows, owners in self._batches(joined):
            # CLIP
            total += self._clipped_sum(torch.from_numpy(rows).to(self._device), torch.from_numpy(owners))
        # NOISE, DIVIDE
        return self._shaped(self._session.release(charge, total) / self._divisor)

    def _open(self) -> None:
        if self._codes is not None:
            return
        table: Table | Images = reveal(self._data)  # type: ignore[misc]
        if isinstance(table, Images):
            assert self._encode is not None
            self._codes = _encoded(table, self._encode)
        else:
            assert isinstance(self._data.schema, Schema)
            self._codes = discretize(table, self._data.schema)
        if table.units is None:
            self._units = table.rows
        else:
            _, owner = np.unique(table.units, return_inverse=True)
            order = np.argsort(owner, kind="stable")
            self._members = np.split(order, np.cumsum(np.bincount(owner))[:-1]) if table.rows else []
            self._units = len(self._members)

    def _batches(
        self, joined: NDArray[np.integer]
    ) -> list[tuple[NDArray[np.int64] | NDArray[np.float64], NDArray[np.int64]]]:
        """Rows (b, d) and the position of each row's unit within the batch (b,); units stay whole."""
        assert self._codes is not None
        rows_a_unit = 1 if self._members is None else self._session.plan.budget.unit.max_rows
        size = max(1, self._physical // rows_a_unit)
        batches = []
        for start in range(0, len(joined), size):
            units = joined[start : start + size]
            if self._members is None:
                index, owners = units, np.arange(len(units))
            else:
                members = [self._members[unit] for unit in units]
                index = np.concatenate(members)
                owners = np.repeat(np.arange(len(units)), [len(rows) for rows in members])
            rows = self._codes[index]
            batches.append((rows if rows.dtype == np.float64 else rows.astype(np.int64), owners.astype(np.int64)))
        return batches

    def _clipped_sum(self, rows: Tensor, owners: Tensor) -> NDArray[np.float64]:
        bound = self._norm * _SLACK
        if self._ghost:
            norms = self._row_norms(rows)  # (b,)
            usable = torch.isfinite(norms)
            factors = (bound / norms[usable].clamp_min(1e-12)).clamp(max=1.0)
            return self._weighted_sum(rows[usable], factors)
        flat = self._row_gradients(rows)  # (b, P)
        finite = torch.isfinite(flat).all(dim=1)
        flat = torch.where(finite[:, None], flat, 0.0)
        if self._members is not None:
            flat = flat.new_zeros(int(owners[-1]) + 1, flat.shape[1]).index_add_(0, owners.to(flat.device), flat)
        norms = torch.linalg.vector_norm(flat, dim=1)  # (u,)
        # Finite entries may have an infinite norm (1e200 squared): such a unit counts for nothing, too.
        factors = torch.where(torch.isfinite(norms), (bound / norms.clamp_min(1e-12)).clamp(max=1.0), 0.0)
        clipped: NDArray[np.float64] = (factors @ flat).cpu().numpy()
        return clipped

    def _row_gradients(self, rows: Tensor) -> Tensor:
        """Per-sample gradients, all parameters side by side: (b, P)."""
        self._backward(rows)
        gradients = [parameter.grad_sample.reshape(len(rows), -1) for parameter in self._parameters]  # type: ignore[attr-defined]
        for parameter in self._parameters:
            parameter.grad_sample = None  # type: ignore[attr-defined]
        return torch.cat(gradients, dim=1)

    def _row_norms(self, rows: Tensor) -> Tensor:
        """Per-sample gradient norms without the gradients: (b,)."""
        self._backward(rows)
        norms: Tensor = self._hooked.get_norm_sample()
        return norms

    def _backward(self, rows: Tensor) -> None:
        self._hooked.enable_hooks()
        try:
            with _without_advice():
                self._loss(self._hooked, rows).sum().backward()
        finally:
            self._hooked.disable_hooks()
            for parameter in self._parameters:
                parameter.grad = None  # backward() leaves the raw sum here

    def _weighted_sum(self, rows: Tensor, factors: Tensor) -> NDArray[np.float64]:
        if len(rows) == 0:
            return np.zeros(sum(parameter.numel() for parameter in self._parameters))
        with _without_advice():
            losses = self._loss(self._twin, rows)
            gradients = torch.autograd.grad((losses * factors).sum(), self._parameters)
        return torch.cat([gradient.reshape(-1) for gradient in gradients]).cpu().numpy()

    def _shaped(self, flat: NDArray[np.float64]) -> list[Tensor]:
        parts = torch.from_numpy(flat).split([parameter.numel() for parameter in self._parameters])
        targets = [parameter for parameter in self._network.parameters() if parameter.requires_grad]
        return [part.view_as(target).to(target) for part, target in zip(parts, targets, strict=True)]

    def _attach(self) -> GradSampleModule | GradSampleModuleFastGradientClipping:
        try:
            if self._ghost:
                hooked = GradSampleModuleFastGradientClipping(
                    self._twin, loss_reduction="sum", max_grad_norm=self._norm, use_ghost_clipping=True
                )
            else:
                hooked = GradSampleModule(self._twin, loss_reduction="sum")
        except (NotImplementedError, RuntimeError, ValueError) as problem:
            raise MethodError(f"the network has layers without per-sample gradients: {problem}") from None
        hooked.disable_hooks()
        return hooked

    def _prove_rows_apart(self, rows: Tensor) -> None:
        """On public rows: every per-sample gradient equals the gradient of that row alone."""
        dropouts = _dropouts(self._twin)
        for dropout in dropouts:
            dropout.eval()
        try:
            alone = torch.stack([self._gradient_alone(row) for row in rows.split(1)])  # (b, P)
            together = self._row_norms(rows)[:, None] if self._ghost else self._row_gradients(rows)
            expected = torch.linalg.vector_norm(alone, dim=1, keepdim=True) if self._ghost else alone
        except (NotImplementedError, RuntimeError, IndexError, ValueError, AttributeError) as problem:
            raise MethodError(
                f"no per-sample gradients for this network and loss ({type(problem).__name__}: {problem}); "
                "a loss that differentiates twice (a gradient penalty) is not possible on private rows"
            ) from None
        finally:
            for dropout in dropouts:
                dropout.train()
        usable = torch.isfinite(expected).all(dim=1)
        if not usable.any():
            raise MethodError("the loss has no finite gradient on any row of the schema's domain; check the network")
        gaps = (together - expected)[usable].abs().amax(dim=1)  # (b,)
        close = gaps <= _PARITY * expected[usable].abs().amax(dim=1).clamp_min(1e-3)
        if not (close.all() and torch.equal(torch.isfinite(together).all(dim=1), usable)):
            raise MethodError(
                "the network mixes the rows of a batch (batch normalization, minibatch statistics, packing): a row's "
                "gradient depends on its neighbours, and clipping would bound nothing; use group or layer normalization"
            )

    def _gradient_alone(self, row: Tensor) -> Tensor:
        with _without_advice():
            gradients = torch.autograd.grad(self._loss(self._twin, row).sum(), self._parameters)
        return torch.cat([gradient.reshape(-1) for gradient in gradients])


@contextmanager
def _without_advice() -> Iterator[None]:
    """Opacus hooks the first layer although its input is data; torch says so at every step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
        yield


def _dropouts(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]


def _refuse_tied_weights(network: nn.Module) -> None:
    names = dict(network.named_parameters(remove_duplicate=False))
    if len({id(parameter) for parameter in names.values()}) < len(names):
        raise MethodError("two layers of the network share a weight; per-sample gradients need each weight once")


def _encoded(images: Images, encode: Encode) -> NDArray[np.float64]:
    """Every image on its own: how a network's sums are rounded may depend on what else is in a batch."""
    rows = []
    for i in range(images.rows):
        numbers = np.asarray(encode(images.pixels[i : i + 1]), dtype=np.float64)  # (1, w)
        rows.append(np.append(numbers[0], images.labels[i]))
    return np.stack(rows) if rows else np.zeros((0, 1))


def _public_rows(
    data: Private[Table] | Private[Images, ImageSchema], session: Session, encode: Encode | None, rows: int = 5
) -> Tensor:
    rng = np.random.default_rng(session.noise.public_seed())
    if isinstance(data.schema, ImageSchema):
        assert encode is not None
        pixels = rng.integers(0, 256, (rows, *data.schema.shape)).astype(np.uint8)
        labels = rng.integers(0, len(data.schema.classes), rows).astype(np.int32)
        return torch.from_numpy(_encoded(Images(pixels, labels), encode))
    codes = np.stack([rng.integers(0, size, rows) for size in data.schema.domain.values()], axis=1)
    return torch.from_numpy(codes.astype(np.int64))


__all__ = ["Encode", "Loss", "NoisyGradients", "step_event"]
