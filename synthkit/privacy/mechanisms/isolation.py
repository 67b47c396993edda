"""How many predicates single somebody out, with noise.

Claim. Let every row fall into at most one of m public cells, by itself alone, and let f(D) be the number of cells that hold
exactly one row of D. Releasing f(D) + N(0, sigma^2), rounded to a grid, costs ``GaussianDpEvent(sigma / k)``, k the
rows a unit may have.

Argument. (1) A row more or less changes how many rows one single cell holds, by one: from 0 to 1, from 1 to 2, or further. So one
of f's m terms changes, by at most 1, and f by at most 1. A unit of k rows moves f by at most k: its radius. (2) Replacing k rows by
at most k others is removing some and adding others: at most 2 k, which is how the accountant reads the event under
replace-one. (3) Where cells overlap, none of this holds: one row may make or break every predicate that it meets, and f may move by
m. So cells are a partition by construction: a row's cell is one number. (4) f is a whole number, counted without rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from synthkit.data.encoding import Table
from synthkit.data.private import Private, reveal
from synthkit.errors import MethodError
from synthkit.privacy.mechanisms.moments import sum_event
from synthkit.privacy.plan import Charge
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from dp_accounting import DpEvent
    from numpy.typing import NDArray

    from synthkit.privacy.budget import Budget

NOBODY = -1  # the cell of a row that no predicate holds for
_CHUNK = 10_000  # rows at a time
_SOURCE = "Gaussian mechanism; sensitivity proved in synthkit/privacy/mechanisms/isolation.py"


def isolation_event(sigma: float, budget: Budget) -> DpEvent:
    """The cost of one noisy number of cells that hold one row."""
    return sum_event(sigma, 1.0, budget)


def noisy_isolated(
    data: Private[Table],
    session: Session,
    cell_of: Callable[[Table], NDArray[np.integer]],
    cells: int,
    sigma: float,
    what: str,
) -> float:
    """Release how many of a public partition's cells hold exactly one row.

    Args:
        data: the rows.
        session: charged ``isolation_event(sigma)``.
        cell_of: a table of n rows to cells (n,) in 0..cells-1, or ``NOBODY``, looking at one row at a time.
        cells: how many cells.
        sigma: standard deviation of the noise.
        what: what the cells are, in public words.

    Raises:
        MethodError: another unit of privacy than the plan's, or what ``cell_of`` returns is not one cell a row.
        BudgetExceeded: not in the plan. Nothing was read.
    """
    session.check(data)
    budget = session.plan.budget
    charge = Charge(isolation_event(sigma, budget), "noisy isolations", float(budget.unit.max_rows), _SOURCE, what)
    session.charge(charge)
    table, held = reveal(data), np.zeros(cells, dtype=np.int64)
    for start in range(0, table.rows, _CHUNK):
        part = table.part(slice(start, start + _CHUNK))
        placed = np.asarray(cell_of(part))
        if placed.shape != (part.rows,) or not np.issubdtype(placed.dtype, np.integer):
            raise MethodError("noisy_isolated needs one cell for each row")
        inside = placed[(placed >= 0) & (placed < cells)]
        held += np.bincount(inside, minlength=cells)
    return float(session.release(charge, np.array([float((held == 1).sum())]))[0])


__all__ = ["NOBODY", "isolation_event", "noisy_isolated"]
