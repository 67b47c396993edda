"""Gradient explainers where they add up, by name where they do not; the trained network is left alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from torch import Tensor, nn

from synthkit.errors import ExplanationError
from synthkit.explain.networks import evaluation_copy, gradients, integrated_gradients, score_of
from synthkit.explain.shapley import explain
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import repeat
from synthkit.privacy.mechanisms.dpsgd import NoisyGradients, step_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from tests.explain.scores import OneHotNetwork, codes
from tests.tables import COLUMNS, frame, private, schema


def dense(*middle: nn.Module, outputs: int = 1, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 10), *middle, nn.Linear(10, outputs))


def inputs(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))


def test_deep_explanations_add_up_on_layers_that_it_knows() -> None:
    found = gradients(dense(nn.LeakyReLU(0.2)), inputs(8), inputs(20, 1))
    assert found.gap <= 1e-3 and found.values.shape == (8, 6)
    two = gradients(dense(nn.ReLU(), outputs=3), inputs(4), inputs(20, 1), output=1)
    expected = dense(nn.ReLU(), outputs=3)(inputs(4))[:, 1].detach().numpy()
    np.testing.assert_allclose(two.scores, expected, rtol=1e-5)
    with pytest.raises(ExplanationError, match="which output"):
        gradients(dense(nn.ReLU(), outputs=3), inputs(4), inputs(20, 1))


class Functional(nn.Module):
    """A non-linearity that DeepExplainer cannot see."""

    def __init__(self) -> None:
        super().__init__()
        self.body = dense()

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.body[1](nn.functional.leaky_relu(self.body[0](rows) * 3, 0.01))
        return found


def test_layers_that_it_gets_wrong_are_refused_by_name() -> None:
    with pytest.raises(ExplanationError, match="gets LayerNorm, SiLU wrong"):
        gradients(dense(nn.SiLU(), nn.LayerNorm(10)), inputs(3), inputs(10, 1))
    with pytest.raises(ExplanationError, match="network of Linear: the values do not add up"):
        gradients(Functional(), inputs(8), inputs(20, 1))
    with pytest.raises(ExplanationError, match="expected gradients on a network of LeakyReLU, Linear"):
        gradients(dense(nn.LeakyReLU(0.2)), inputs(8), inputs(20, 1), how="expected")
    with pytest.raises(ExplanationError, match="background of 1"):
        gradients(dense(nn.ReLU()), inputs(3), inputs(1))


def test_integrated_gradients_are_complete_or_refused() -> None:
    found = integrated_gradients(dense(nn.SiLU(), nn.LayerNorm(10)), inputs(5), torch.zeros(6))
    assert found.gap <= 0.01 * np.abs(found.scores - found.base).max()
    weights = torch.arange(6.0)
    linear = nn.Linear(6, 1)
    with torch.no_grad():
        linear.weight.copy_(weights[None])
    exact = integrated_gradients(linear, inputs(5), torch.ones(6))
    np.testing.assert_allclose(exact.values, (weights * (inputs(5) - 1)).numpy(), atol=1e-5)

    class Steps(nn.Module):  # no gradient leads up a staircase
        def forward(self, rows: Tensor) -> Tensor:
            return torch.round(rows.sum(dim=1)) + 0 * rows.sum(dim=1)

    with pytest.raises(ExplanationError, match="not complete"):
        integrated_gradients(Steps(), inputs(5), torch.zeros(6))


def test_explaining_leaves_no_trace_in_global_state() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    gradients(dense(nn.ReLU()), inputs(3), inputs(10, 1))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


def test_a_copy_has_no_hooks_and_no_memory_in_common() -> None:
    network = OneHotNetwork()
    wrapped = GradSampleModule(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus hooks the first layer although its input is data
        wrapped(torch.as_tensor(codes(4))).sum().backward()
    copy = evaluation_copy(wrapped)
    assert not isinstance(copy, GradSampleModule) and not copy.training
    for module in copy.modules():
        assert not module._forward_hooks and not module._backward_hooks
    mine = {value.data_ptr() for value in network.parameters()}
    assert not mine & {value.data_ptr() for value in copy.parameters()}
    assert all(not hasattr(value, "grad_sample") for value in copy.parameters())
    np.testing.assert_allclose(copy(torch.as_tensor(codes(4))), network(torch.as_tensor(codes(4))).detach())
    shared = nn.Linear(3, 3)
    twice = evaluation_copy(nn.Sequential(shared, shared))
    assert len(list(twice.parameters())) == 2


class Judge(OneHotNetwork):
    """A discriminator of the shared table."""

    def __init__(self) -> None:
        super().__init__(tuple(schema().domain.values()))


def test_explaining_changes_no_weight_and_no_entry_and_the_next_private_step_succeeds() -> None:
    network = Judge()
    session = Session(Plan(Budget(1e3, 1e-5), repeat(step_event(10.0, 0.5), 2)), noise=NoiseSource(test_seed=0))
    steps = NoisyGradients(
        private(frame(60), schema()), session, network, lambda n, rows: -n(rows), clipping_norm=1.0,
        noise_multiplier=10.0, sample_rate=0.5, clipping="hooks",
    )  # fmt: skip
    steps.step()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trace, mode = session.trace, network.training
    rows = codes(6, sizes=network.sizes)
    explain(score_of(network), rows, codes(5, seed=1, sizes=network.sizes), list(COLUMNS))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert session.trace == trace and network.training == mode
    assert all(torch.isfinite(part).all() for part in steps.step())
    assert len(session.trace) == 2
