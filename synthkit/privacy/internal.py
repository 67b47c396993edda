"""Two doors past the mechanisms, each with a sign on it.

Neither leads into a bundle. *Internal evidence* (exact figures on real rows) needs the steward's
``internal: allow`` and stays in a folder beside the bundle. *No protection* hands the rows to a
method without a guarantee; it charges an event whose epsilon is infinite, so that whatever comes
of it is refused by arithmetic wherever a budget is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dp_accounting
import numpy as np
import pandas as pd

from synthkit.data.encoding import Table, discretize, to_frame
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private, reveal
from synthkit.errors import Refused
from synthkit.privacy.links import Linked
from synthkit.privacy.plan import Charge
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NOT_ALLOWED = "exact figures on real data need 'internal: allow' in the release file"


def internal_codes(data: Private[Table], *, allowed: bool) -> NDArray[np.int32]:
    """Exact codes (n, d) of the real rows, for figures that never leave the house.

    Raises:
        Refused: the job does not say ``internal: allow``.
    """
    if not allowed:
        raise Refused(_NOT_ALLOWED)
    return discretize(reveal(data), data.schema)


def internal_linked(data: Linked, *, allowed: bool) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Exact codes of two linked tables, for figures that never leave the house.

    Returns:
        codes (n, d) of the parents by ``schema.counted``; codes (m, e) of the children by ``schema.chained``, in the
        order of their parents; and the place (m,) of each one's parent.

    Raises:
        Refused: the job does not say ``internal: allow``.
    """
    parents, children = (internal_codes(box, allowed=allowed) for box in (data.parents, data.chained))
    above, below = reveal(data.parents).units, reveal(data.children).units
    assert above is not None and below is not None, "a linked schema names its units"
    order = np.argsort(above, kind="stable")
    owner = order[np.searchsorted(above[order], below)]
    by_owner = np.argsort(owner, kind="stable")
    return parents, children[by_owner], owner[by_owner]


def internal_table(data: Private[Table], *, allowed: bool) -> Table:
    """The real rows as numbers and codes, for figures that never leave the house.

    Raises:
        Refused: the job, or the policy, does not allow it.
    """
    if not allowed:
        raise Refused(_NOT_ALLOWED)
    return reveal(data)


def internal_images(data: Private[Images, ImageSchema], *, allowed: bool) -> Images:
    """The real images, for figures and pictures that never leave the house.

    Raises:
        Refused: the job does not say ``internal: allow``.
    """
    if not allowed:
        raise Refused(_NOT_ALLOWED)
    return reveal(data)


def unprotected_frame(data: Private[Table], session: Session) -> pd.DataFrame:
    """The real rows themselves, charged as what they are: epsilon is infinite from here on."""
    session.check(data)
    event = dp_accounting.NonPrivateDpEvent()
    session.charge(Charge(event, "no protection", float("inf"), "none: the rows themselves", "all rows"))
    return to_frame(reveal(data), data.schema)


__all__ = ["internal_codes", "internal_images", "internal_linked", "internal_table", "unprotected_frame"]
