"""Numbers that keep their shape, and rare categories: around a method of marginals and around an adaptive one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import synthkit as sk
from synthkit.data.encoding import Table, discretize, from_frame
from synthkit.data.private import Private
from synthkit.data.schema import Categorical, Continuous, Quantiles, Schema
from synthkit.data.tables import FrameSource
from synthkit.errors import BudgetExceeded, InputError, JobError
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget, Remainder
from synthkit.privacy.events import parts, repeat
from synthkit.privacy.mechanisms.counts import counts_event
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers import base, shapes
from synthkit.synthesizers.independent import Independent, IndependentModel
from synthkit.synthesizers.shaped import ShapedModel
from synthkit.synthesizers.shaped import shaped as decorator
from tests import tables
from tests.synthesizers.contract import MethodContract, fitted
from tests.tables import private, schema, shaped, shaped_frame

BUDGET = Budget(1.0, 1e-6)


class Shaped(MethodContract):
    schema = staticmethod(shaped)
    frame = staticmethod(shaped_frame)

    def test_the_inner_model_never_sees_a_column_that_is_to_be_found(self, model: sk.Synthetic) -> None:
        assert isinstance(model, ShapedModel) and not shapes.concerned(model.inner.schema)
        assert model.schema == shaped()

    @pytest.mark.parametrize(
        "where",
        [
            {"income": 0, "balance": 99.99},
            {"income": 123_456.7, "seen": "2020-03-03"},
            {"diagnosis": "d199", "income": 1_000_000},
            {"diagnosis": "d0", "balance": -500},
        ],
    )
    def test_conditions_on_such_columns_are_met_exactly(self, model: base.Model, where: dict[str, object]) -> None:
        drawn = model.sample(30, where=where)
        for name, value in where.items():
            expected = pd.Timestamp(str(value)) if name == "seen" else value
            assert set(drawn.frame[name]) == {expected}

    @pytest.mark.parametrize("target", ["income", "diagnosis"])
    def test_such_a_column_may_be_the_target(self, recipe: base.Method, target: str) -> None:
        assert len(self.fitted(recipe, shaped(target=target))[0].sample(20).frame) == 20

    def test_marginals_have_the_public_codes(self, model: base.Model) -> None:
        ones = {m.columns[0]: m for m in model.marginals if len(m.columns) == 1}
        assert sorted(ones) == sorted(shaped().domain)
        assert {name: m.counts.size for name, m in ones.items()} == shaped().domain

    def test_damage_inside_is_found(self, model: base.Model, tmp_path: Path) -> None:
        other, _ = self.fitted(base.method(self.name, self.settings))
        model.save(tmp_path / "one")
        other.save(tmp_path / "two")
        (tmp_path / "one" / "inner").rename(tmp_path / "gone")
        with pytest.raises(InputError, match="not a saved model"):
            base.load(tmp_path / "one")
        (tmp_path / "two" / "inner").rename(tmp_path / "one" / "inner")
        with pytest.raises(InputError, match="another model"):
            base.load(tmp_path / "one")


class TestIndependent(Shaped):
    name = "independent"


class TestAim(Shaped):
    name = "aim"
    settings = {"rounds": 2, "iterations": 4}  # noqa: RUF012


# Shapes


@pytest.fixture(scope="module")
def incomes() -> pd.DataFrame:
    """30,000 rows, lognormal with two fifths zeros."""
    return shaped_frame(30_000)


def narrow(bins: int | Quantiles) -> Schema:
    income = Continuous(min=0, max=1e6, bins=bins, unknown="clamp")
    return Schema(
        name="incomes",
        columns={"income": income, "smoker": schema().columns["smoker"], "ill": schema().columns["ill"]},
        rows=30_000,
        target="ill",
        reviewed=True,
    )


@pytest.mark.parametrize("name", ["independent", "aim"])
def test_a_heavy_tail_and_its_zeros_are_kept(name: str, incomes: pd.DataFrame) -> None:
    real = incomes[["income", "smoker", "ill"]]
    recipe = base.method(name, {"rounds": 2, "iterations": 20} if name == "aim" else {})
    distance = {}
    for bins in (16, Quantiles(16, scale="log")):
        drawn = fitted(recipe, narrow(bins), real, BUDGET)[0].sample(30_000, seed=0).frame
        distance[bins] = stats.ks_2samp(drawn["income"], real["income"]).statistic
    assert distance[Quantiles(16, scale="log")] < distance[16] / 3
    assert abs((drawn["income"] == 0).mean() - (real["income"] == 0).mean()) < 0.02


def test_single_values_are_kept_to_the_last_digit(incomes: pd.DataFrame) -> None:
    public = replace(shaped(rows=30_000), target=None)
    drawn = fitted(Independent(), public, incomes, BUDGET)[0].sample(30_000, seed=0).frame
    assert abs((drawn["balance"] == 99.99).mean() - (incomes["balance"] == 99.99).mean()) < 0.02
    assert abs(drawn["diagnosis"].isna().mean() - incomes["diagnosis"].isna().mean()) < 0.02
    top = incomes.assign(income=np.where(np.arange(30_000) % 3 == 0, 1e6, incomes["income"]))
    drawn = fitted(Independent(), public, top, BUDGET)[0].sample(30_000, seed=0).frame
    assert abs((drawn["income"] == 1e6).mean() - 1 / 3) < 0.02


def test_frequent_categories_keep_codes_of_their_own(incomes: pd.DataFrame) -> None:
    public = shaped(rows=30_000)
    model, session = fitted(Independent(), public, incomes, BUDGET)
    assert isinstance(model, ShapedModel)
    column = model.inner.schema.columns["diagnosis"]
    assert isinstance(column, Categorical) and "d0" not in column.merged and "d149" in column.merged
    assert column.size < 80 < public.domain["diagnosis"]
    assert session.plan.noise["shapes"] > session.plan.noise["marginals"]


def test_conditions_keep_what_depends_on_them(incomes: pd.DataFrame) -> None:
    """Zeros are a code of their own: a method can learn what goes with them."""
    data = incomes[["income", "smoker", "ill"]].copy()
    data["ill"] = np.where(data["income"] == 0, "yes", "no")
    recipe = base.method("aim", {"rounds": 2, "iterations": 20})
    drawn = fitted(recipe, narrow(Quantiles(16, scale="log")), data, BUDGET)[0].sample(10_000, seed=0).frame
    assert ((drawn["ill"] == "yes") == (drawn["income"] == 0)).mean() > 0.97


# Price


def test_what_is_spoken_for_is_part_of_what_is_calibrated() -> None:
    event = counts_event(20.0, BUDGET)
    rest = Independent().plan(schema(), Remainder.of(BUDGET, event))
    whole = Independent().plan(schema(), BUDGET)
    assert rest.noise["marginals"] > whole.noise["marginals"]
    assert Remainder.of(BUDGET, event).epsilon == BUDGET.epsilon


def test_the_plan_holds_one_fine_marginal_a_column() -> None:
    plan = base.method("aim").plan(shaped(), BUDGET)
    assert type(plan.budget) is Budget
    inner = base.method("aim").plan(shapes.promised(shaped(), plan.noise["shapes"]), BUDGET)
    assert sum(parts(plan.event).values()) == 5 + sum(parts(inner.event).values())
    alone = calibrate(lambda sigma: repeat(counts_event(sigma, BUDGET), 5), BUDGET)
    assert plan.noise["shapes"] == pytest.approx(alone / (0.1 * 5 / 9) ** 0.5)


def test_the_gan_is_run_on_the_codes_that_were_found() -> None:
    recipe = base.method("tabular_gan", {"iterations": 3, "batch": 32, "width": 8, "latent": 4})
    model, session = fitted(recipe, shaped(), shaped_frame(), BUDGET)
    assert session.spent == pytest.approx(session.plan.epsilon, rel=1e-9) and isinstance(model, ShapedModel)
    assert len(model.sample(20, where={"income": 0}).frame) == 20


@pytest.mark.parametrize("name", ["independent", "aim"])
def test_constraints_hold_for_what_is_drawn_from_shapes(name: str) -> None:
    public = tables.constrained()
    found = {
        name: replace(public.columns[name], bins=Quantiles(6))
        for name in ("born", "admitted", "discharged", "total", "rank", "age")
    }
    found |= {name: replace(public.columns[name], rare="merge") for name in ("education", "sex")}
    public = replace(public, columns={**public.columns, **found})
    model, _ = fitted(
        base.method(name, TestAim.settings if name == "aim" else {}), public, tables.constrained_frame(), BUDGET
    )
    drawn = model.sample(1000, seed=0)
    assert tables.unmet(drawn.frame) == {}
    np.testing.assert_array_equal(discretize(from_frame(drawn.frame, public), public), drawn.codes)


@decorator
@dataclass(frozen=True)
class Greedy:
    """Spends a budget as if nothing else were to run."""

    name: ClassVar[str] = "greedy"

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        return Independent().plan(schema, Budget(budget.epsilon, budget.delta, budget.adjacency, budget.unit))

    def fit(self, data: Private[Table], session: Session, *, progress: base.Progress = base.silent) -> base.Model:
        return Independent().fit(data, session, progress=progress)


def test_a_method_that_ignores_what_is_spoken_for_is_refused() -> None:
    with pytest.raises(BudgetExceeded, match="above the budget"):
        Session(Greedy().plan(shaped(), BUDGET))


def test_a_plan_without_the_shapes_buys_none() -> None:
    """Charged before anything is read, and only what was priced."""
    plan = Independent().plan(schema(), BUDGET)
    cheap = Plan(plan.budget, plan.event, {**plan.noise, "shapes": 50.0})
    session = Session(cheap)
    with pytest.raises(BudgetExceeded):
        Independent().fit(private(shaped_frame(), shaped()), session)
    assert session.trace == ()


def test_a_release_with_shapes(tmp_path: Path) -> None:
    """From the price to the bundle, the holdout's report in the public codes."""
    job = sk.Job(
        "people",
        FrameSource(shaped_frame(600)),
        shaped(rows=600),
        BUDGET,
        "independent",
        200,
        tmp_path / "release",
        model=True,
    )
    made = sk.run(job, sk.Ledger(tmp_path / "ledger.sqlite"))
    assert 0.98 < sk.verify(made.folder).epsilon <= 1.0
    again = sk.load(made.folder / "model").sample(20, where={"income": 0})
    assert set(again.frame["income"]) == {0.0} and len(made.evidence) > 4


def test_a_schema_without_such_columns_is_left_alone() -> None:
    model, _ = fitted(Independent())
    assert isinstance(model, IndependentModel)


def test_conditions_outside_the_domain_are_refused() -> None:
    model, _ = fitted(Independent(), shaped(), shaped_frame())
    for where in ({"income": -1}, {"diagnosis": "d200"}, {"seen": "2019-01-01"}):
        with pytest.raises(JobError, match="--where"):
            model.sample(5, where=where)


def test_tables_are_what_they_say() -> None:
    zero, spike = (tables.shaped_frame(20_000)["income"] == 0).mean(), tables.shaped_frame(20_000)["balance"] == 99.99
    assert zero == pytest.approx(0.4, abs=0.02) and spike.mean() == pytest.approx(0.2, abs=0.02)
