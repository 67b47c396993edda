"""When an attack on membership is no chance: two tests without assumptions, with their alarm fixed beforehand."""

from __future__ import annotations

import math

from scipy import stats

from synthkit.audit.membership import Attack

ALARM = 1e-8  # of one test; a release is given sixteen at most, so that it alarms in less than one of a million


def caught(attack: Attack) -> bool:
    """Whether members stand above others, or a few of them above almost all others, more than chance has it.

    Where members and others are exchangeable: the AUC is a U-statistic of terms in [0, 1], and beyond one half by t
    with a probability of exp(-2 k t^2) at most, k of the smaller side (Hoeffding 1963, section 5b). And the j + r highest
    scores hold at most r others with the probability of a hypergeometric law: r of the others are above the
    threshold at 1% false alarms, and j members. Ties count for the defence.
    """
    if attack.auc - 0.5 > math.sqrt(math.log(1 / ALARM) / (2 * min(attack.members, attack.others))):
        return True
    above = attack.others - 1 - _rank(attack.others)
    found = round(attack.tpr_at_1_percent * attack.members)
    everybody = attack.members + attack.others
    return bool(stats.hypergeom.cdf(above, everybody, attack.others, found + above) < ALARM)


def _rank(others: int) -> int:
    """The place of the threshold among the others, in order: the quantile at 99%, or the next above."""
    return -(-99 * (others - 1) // 100)
