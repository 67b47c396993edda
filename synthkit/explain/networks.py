"""Networks: evaluation copies that leave the trained one alone, and explainers that follow gradients.

Opacus's hooks break explainers, and an explainer's hooks would break the next private step. So what is explained
is always a fresh copy in evaluation mode: no hook, no gradient, no memory in common.

Gradient explainers need inputs on which a network is differentiable (pixels, embeddings), not codes. Each is
wrong on some layers: DeepExplainer where a non-linearity is not one of its own or is called as a function,
GradientExplainer nearly always. They are used where their values add up on this very network and input, and
refused elsewhere. Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) are refused where not complete.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from synthkit.errors import ExplanationError
from synthkit.evidence import Payment
from synthkit.explain.shapley import ADDITIVITY, Attribution, Score, added_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks",
    "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called",
    "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_state_dict_pre_hooks",
)  # fmt: skip
_MISREAD = (
    nn.SiLU, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.Hardswish, nn.Mish,
    nn.MultiheadAttention, nn.RNNBase, nn.modules.batchnorm._BatchNorm, nn.Softmax, nn.PixelShuffle,
)  # fmt: skip
_GRADIENT_ADDITIVITY = 1e-3
_COMPLETE = 0.01  # integrated gradients: gap, relative to how far the score moves
_PATH = 200  # steps from the baseline


def evaluation_copy(network: nn.Module) -> nn.Module:
    """The same function in evaluation mode, without hooks and without any memory in common.

    A wrapper by Opacus (``GradSampleModule``) is taken off. What a module holds beside parameters, buffers and
    submodules is shared: explainers do not write there.
    """
    return _copied(getattr(network, "_module", network), {}).eval()


def score_of(network: nn.Module, *, output: int | None = None) -> Score:
    """A network as a score of rows: an evaluation copy of it, asked without gradients."""
    copy = evaluation_copy(network)

    def score(rows: NDArray[Any]) -> NDArray[np.float64]:
        with torch.no_grad():
            found: NDArray[np.float64] = (
                _output(copy(torch.as_tensor(np.ascontiguousarray(rows))), output).double().numpy()
            )
        return found

    return score


def randomized(network: nn.Module, seed: int) -> nn.Module:
    """An evaluation copy whose weights are drawn anew, each tensor with its own root mean square. For Adebayo's test."""
    copy, draws = evaluation_copy(network), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copy.parameters():
            size = parameter.square().mean().sqrt()
            parameter.copy_(torch.randn(parameter.shape, generator=draws) * size)
    return copy


def gradients(
    network: nn.Module,
    rows: Tensor,
    background: Tensor,
    *,
    how: Literal["deep", "expected"] = "deep",
    output: int | None = None,
    seed: int = 0,
    payment: Payment = "internal",
) -> Attribution:
    """SHAP values of continuous inputs by DeepExplainer or GradientExplainer (expected gradients).

    Args:
        network: (n, ...) to (n,), (n, 1) or (n, classes); explained is a copy.
        rows: (n, ...) float32.
        background: (b, ...), two or more.
        how: ``deep`` or ``expected`` gradients.
        output: of several classes, which one.
        seed: of expected gradients.
        payment: as for :func:`synthkit.explain.shapley.explain`.

    Raises:
        ExplanationError: a layer that the explainer gets wrong (it is named), or values that do not add up.
    """
    copy = evaluation_copy(network)
    if how == "deep" and (misread := sorted({type(m).__name__ for m in copy.modules() if isinstance(m, _MISREAD)})):
        raise ExplanationError(
            f"DeepExplainer gets {', '.join(misread)} wrong; explain the network by coalitions or integrated gradients"
        )
    if len(background) < 2:
        raise ExplanationError(f"a background of {len(background)} rows; it takes 2 at least")
    wrapped = _OneColumn(copy, output).eval()
    with torch.no_grad():
        scores, base = wrapped(rows)[:, 0].double().numpy(), wrapped(background)[:, 0].double().mean().numpy()
    shaps = _shap_values(wrapped, rows, background, how, seed)
    flat = np.asarray(shaps, dtype=np.float64).reshape(len(rows), -1)
    whole = np.broadcast_to(base, len(rows))
    try:
        gap = added_up(flat, whole, scores, _GRADIENT_ADDITIVITY)
    except ExplanationError as problem:
        layers = ", ".join(sorted({type(m).__name__ for m in copy.modules() if not list(m.children())}))
        raise ExplanationError(f"{how} gradients on a network of {layers}: {problem}") from None
    names = tuple(f"input {k}" for k in range(flat.shape[1]))
    words = {"deep": "DeepExplainer", "expected": "expected gradients"}[how]
    inputs = rows.reshape(len(rows), -1).numpy()
    return Attribution(names, flat, whole, scores, inputs, None, words, gap, payment)


def integrated_gradients(
    network: nn.Module, rows: Tensor, baseline: Tensor, *, output: int | None = None, payment: Payment = "internal"
) -> Attribution:
    """Integrated gradients from ``baseline`` to each row, by the midpoint rule.

    Args:
        network: as for :func:`gradients`.
        rows: (n, ...) float32.
        baseline: (...) one input, e.g. black, or the mean of synthetic images.
        output: of several classes, which one.
        payment: as for :func:`synthkit.explain.shapley.explain`.

    Raises:
        ExplanationError: not complete: the values do not sum to score minus the baseline's score.
    """
    copy = evaluation_copy(network)
    with torch.no_grad():
        scores = _output(copy(rows), output).double().numpy()
        start = _output(copy(baseline[None]), output).double().numpy()
    total = torch.zeros_like(rows)
    for k in range(_PATH):
        at = (baseline + (k + 0.5) / _PATH * (rows - baseline)).requires_grad_()
        total += torch.autograd.grad(_output(copy(at), output).sum(), at)[0]
    flat = ((rows - baseline) * total / _PATH).double().reshape(len(rows), -1).numpy()
    gap = float(np.abs(flat.sum(axis=1) + start - scores).max())
    moved = float(np.abs(scores - start).max())
    if not gap <= max(_COMPLETE * moved, ADDITIVITY):
        raise ExplanationError(
            f"integrated gradients are not complete on this network (gap {gap:.2g}, the score moves by {moved:.2g}); "
            "explain it by superpixels"
        )
    names = tuple(f"input {k}" for k in range(flat.shape[1]))
    base = np.broadcast_to(start, len(rows))
    return Attribution(
        names, flat, base, scores, rows.reshape(len(rows), -1).numpy(), None, "integrated gradients", gap, payment
    )


class _OneColumn(nn.Module):
    """One output as (n, 1), which is what shap expects."""

    def __init__(self, network: nn.Module, output: int | None) -> None:
        super().__init__()
        self.network, self.output = network, output

    def forward(self, rows: Tensor) -> Tensor:
        return _output(self.network(rows), self.output)[:, None]


def _output(found: Tensor, output: int | None) -> Tensor:
    """One number a row (n,)."""
    if found.ndim == 2 and found.shape[1] == 1:
        return found[:, 0]
    if found.ndim == 2 and output is not None:
        return found[:, output]
    if found.ndim != 1:
        raise ExplanationError(
            f"the network gives {tuple(found.shape[1:])} numbers a row; say which output is explained"
        )
    return found


def _shap_values(network: nn.Module, rows: Tensor, background: Tensor, how: str, seed: int) -> Any:
    from synthkit.explain.shapley import _shap

    shap = _shap()
    with _global_state_kept():
        if how == "deep":
            return shap.DeepExplainer(network, background).shap_values(rows, check_additivity=False)
        return shap.GradientExplainer(network, background).shap_values(rows, nsamples=200, rseed=seed)


@contextlib.contextmanager
def _global_state_kept() -> Iterator[None]:
    """shap seeds numpy's and torch's global generators."""
    import warnings

    before = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hooks on inputs that are data
            yield
    finally:
        np.random.set_state(before)


def _copied(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    if id(module) in memo:
        found: nn.Module = memo[id(module)]
        return found
    copy = memo[id(module)] = module.__new__(type(module))
    copy.__dict__ = dict(module.__dict__)
    for hooks in _HOOKS:
        if hooks in copy.__dict__:
            copy.__dict__[hooks] = OrderedDict()
    copy._parameters = {name: _parameter(value, memo) for name, value in module._parameters.items()}
    copy._buffers = {n: None if value is None else value.detach().clone() for n, value in module._buffers.items()}
    copy._modules = {n: None if inner is None else _copied(inner, memo) for n, inner in module._modules.items()}
    return copy


def _parameter(value: nn.Parameter | None, memo: dict[int, Any]) -> nn.Parameter | None:
    """A plain parameter of its own; one that two modules share stays shared."""
    if value is None:
        return None
    if id(value) not in memo:
        memo[id(value)] = nn.Parameter(value.detach().clone(), requires_grad=False)
    found: nn.Parameter = memo[id(value)]
    return found


__all__ = ["evaluation_copy", "gradients", "integrated_gradients", "randomized", "score_of"]
