"""Small charts as inline SVG: no script, no fonts, no colours of their own.

Every chart takes its colours from the page's style sheet through classes, so that light, dark and
paper are the page's decision, and every text that comes from outside is escaped. Coordinates are
in pixels of a drawing that is scaled to the width it is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from synthkit.svg import cut as _cut
from synthkit.svg import number as _n
from synthkit.svg import svg as _svg
from synthkit.svg import ticks as _ticks

MAX_BARS = 16  # categories drawn one by one; the small ones share a bar
MAX_COLUMNS = 60  # bins drawn one by one; above, neighbours share a column
MAX_TABLE = 200  # rows of the table under a chart
NORMAL_95 = 1.959964  # half width of a 95% interval, in standard deviations
_WIDTH = 340


@dataclass(frozen=True)
class MarginalFigure:
    """One column, as it was measured (with noise) and as it came out.

    Attributes:
        column: the column's name.
        labels: its categories or bins, in order.
        released: noisy counts, as a mechanism released them.
        noise: standard deviation of the noise in each released count. Above 0: counts without
            noise would be exact counts of private data, which no bundle may hold.
        synthetic: synthetic counts, scaled to the total of ``released``.
        ordered: True for bins of a number or of time, drawn in order as a histogram.
        table: which of several tables the column is of.
    """

    column: str
    labels: tuple[str, ...]
    released: tuple[float, ...]
    noise: float
    synthetic: tuple[float, ...]
    ordered: bool = False
    table: str = ""

    def __post_init__(self) -> None:
        if not self.labels or not len(self.labels) == len(self.released) == len(self.synthetic):
            raise ValueError(
                f"figure of {self.column}: {len(self.labels)} labels, {len(self.released)} released and "
                f"{len(self.synthetic)} synthetic counts; they must be equally many, and at least one"
            )
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise ValueError(f"figure of {self.column}: noise is {self.noise}; released counts carry noise above 0")
        if not all(math.isfinite(count) for count in (*self.released, *self.synthetic)):
            raise ValueError(f"figure of {self.column}: a count is not a finite number")

    @property
    def distance(self) -> float | None:
        """Half the summed absolute differences, as a share of the total; None where that is not positive."""
        total = math.fsum(self.released)
        if total <= 0:
            return None
        return math.fsum(abs(r - s) for r, s in zip(self.released, self.synthetic, strict=True)) / 2 / total

    @property
    def noise_distance(self) -> float | None:
        """About what :attr:`distance` would be if the noise were the only difference."""
        total = math.fsum(self.released)
        return len(self.released) * self.noise * math.sqrt(2 / math.pi) / 2 / total if total > 0 else None

    @property
    def rows(self) -> list[Bar]:
        """Every label with its counts, for the table under the chart; a long tail is cut off."""
        return self._bars()[:MAX_TABLE]

    def _bars(self) -> list[Bar]:
        return [
            Bar(label, released, self.noise * NORMAL_95, synthetic)
            for label, released, synthetic in zip(self.labels, self.released, self.synthetic, strict=True)
        ]


@dataclass(frozen=True)
class Bar:
    """One bar: ``released`` plus or minus ``error`` (95%), and ``synthetic``."""

    label: str
    released: float
    error: float
    synthetic: float


def marginal(figure: MarginalFigure) -> Markup:
    """Synthetic counts as bars, released noisy counts as points with 95% error bars."""
    if figure.ordered:
        return _columns(figure, _neighbours_joined(figure._bars()))
    return _bars(figure, _tail_joined(figure._bars()))


def interval(
    value: float | None,
    bounds: Sequence[float | None] | None,
    floor: float | None,
    scale: tuple[float, float],
    *,
    label: str,
) -> Markup:
    """A figure on a line, with its interval and, as a tick, its sampling floor.

    Args:
        value: the figure, or None where it could not be computed.
        bounds: its 95% interval; an end that is None is unbounded.
        floor: what chance alone would give, or None.
        scale: the line's ends.
        label: the chart in words.
    """
    width, height, margin = 200, 26, 6
    low, high = scale

    def x(at: float) -> str:
        return _n(margin + (width - 2 * margin) * min(max((at - low) / (high - low), 0), 1))

    middle = height / 2
    parts = [f'<line class="c-axis" x1="{margin}" y1="{middle}" x2="{width - margin}" y2="{middle}"/>']
    parts += [f'<line class="c-axis" x1="{x(at)}" y1="{middle - 3}" x2="{x(at)}" y2="{middle + 3}"/>' for at in scale]
    if floor is not None:
        parts.append(f'<line class="c-floor" x1="{x(floor)}" y1="4" x2="{x(floor)}" y2="{height - 4}"/>')
    if bounds is not None:
        start, end = x(low if bounds[0] is None else bounds[0]), x(high if bounds[1] is None else bounds[1])
        parts.append(f'<line class="c-interval" x1="{start}" y1="{middle}" x2="{end}" y2="{middle}"/>')
        caps = ((bound, at) for bound, at in zip(bounds, (start, end), strict=True) if bound is not None)
        parts += [f'<line class="c-interval" x1="{at}" y1="7" x2="{at}" y2="{height - 7}"/>' for _, at in caps]
    if value is not None:
        parts.append(f'<circle class="c-value" cx="{x(value)}" cy="{middle}" r="3.2"/>')
    return _svg(width, height, label, parts, kind="interval")


def attacker(accuracy: float) -> Markup:
    """How often the best possible attacker guesses right, on a line from a coin toss to certainty."""
    width, height, left, right = 420, 62, 8, 412
    end = left + (right - left) * (accuracy - 0.5) / 0.5
    anchor = "start" if end < 120 else "end" if end > 300 else "middle"
    parts = [
        f'<rect class="c-track" x="{left}" y="24" width="{right - left}" height="12" rx="2"/>',
        f'<rect class="c-bar" x="{left}" y="24" width="{_n(max(end - left, 1))}" height="12" rx="2"/>',
        f'<text class="c-strong" x="{_n(end)}" y="16" text-anchor="{anchor}">at most {percent(accuracy)}</text>',
        f'<text class="c-label" x="{left}" y="54">50% (tossing a coin)</text>',
        f'<text class="c-label" x="{right}" y="54" text-anchor="end">100% (certain)</text>',
    ]
    label = f"The best possible attacker is right in at most {percent(accuracy)} of cases; a coin toss in 50%"
    return _svg(width, height, label, parts, kind="attacker")


def scale_for(values: Sequence[float]) -> tuple[float, float]:
    """Round ends of a line that holds every one of ``values``, and 0."""
    if not values:
        return 0.0, 1.0
    top, bottom = max(0.0, *values), min(0.0, *values)
    high = _ticks(top)[-1] if top > 0 else 0.0
    low = -_ticks(-bottom)[-1] if bottom < 0 else 0.0
    return (low, high) if high > low else (0.0, 1.0)


def percent(share: float) -> str:
    """A share in percent, rounded up: what is shown is never below what holds."""
    for decimals in (1, 3, 6):
        shown = math.ceil(share * 100 * 10**decimals - 1e-9) / 10**decimals
        if shown < 100 or share >= 1:
            return f"{shown:.{decimals}f}%"
    return "100%"


def _bars(figure: MarginalFigure, bars: list[Bar]) -> Markup:
    row, left, right, top = 21, 122, 12, 4
    height = top + row * len(bars) + 20
    ticks = _ticks(_highest(bars))
    width = _WIDTH - left - right

    def x(count: float) -> str:
        return _n(left + width * min(max(count, 0) / ticks[-1], 1))

    bottom = top + row * len(bars)
    parts = [f'<line class="c-grid" x1="{x(t)}" y1="{top}" x2="{x(t)}" y2="{bottom}"/>' for t in ticks[1:]]
    for i, tick in enumerate(ticks):
        anchor = "middle" if i < len(ticks) - 1 else "end"
        at = x(tick) if anchor == "middle" else _n(_WIDTH - 2)
        parts.append(f'<text class="c-tick" x="{at}" y="{bottom + 14}" text-anchor="{anchor}">{_count(tick)}</text>')
    for i, bar in enumerate(bars):
        y = top + row * i
        middle = y + row / 2
        parts += [
            f"<g><title>{escape(_words(bar))}</title>",
            f'<text class="c-label" x="{left - 7}" y="{middle + 4}" text-anchor="end">{escape(_cut(bar.label, 17))}</text>',
            f'<rect class="c-bar" x="{left}" y="{y + 4}" width="{_n(float(x(bar.synthetic)) - left)}" height="{row - 8}"/>',
            *_whisker(
                (x(bar.released - bar.error), _n(middle)),
                (x(bar.released + bar.error), _n(middle)),
                (x(bar.released), _n(middle)),
            ),
            "</g>",
        ]
    parts.append(f'<line class="c-axis" x1="{left}" y1="{top}" x2="{left}" y2="{bottom}"/>')
    return _svg(_WIDTH, height, _summary(figure), parts)


def _columns(figure: MarginalFigure, bars: list[Bar]) -> Markup:
    left, right, top, height = 46, 6, 8, 190
    bottom = height - 22
    ticks = _ticks(_highest(bars))
    step = (_WIDTH - left - right) / len(bars)
    gap = 1.5 if step > 6 else 0.5

    def y(count: float) -> str:
        return _n(bottom - (bottom - top) * min(max(count, 0) / ticks[-1], 1))

    parts: list[str] = []
    for tick in ticks:
        parts.append(f'<line class="c-grid" x1="{left}" y1="{y(tick)}" x2="{_WIDTH - right}" y2="{y(tick)}"/>')
        at = _n(float(y(tick)) + 4)
        parts.append(f'<text class="c-tick" x="{left - 6}" y="{at}" text-anchor="end">{_count(tick)}</text>')
    for i, bar in enumerate(bars):
        start, middle = left + step * i, _n(left + step * (i + 0.5))
        across, tall = _n(max(step - 2 * gap, 0.5)), _n(bottom - float(y(bar.synthetic)))
        parts += [
            f"<g><title>{escape(_words(bar))}</title>",
            f'<rect class="c-bar" x="{_n(start + gap)}" y="{y(bar.synthetic)}" width="{across}" height="{tall}"/>',
            *_whisker(
                (middle, y(bar.released - bar.error)),
                (middle, y(bar.released + bar.error)),
                (middle, y(bar.released)),
            ),
            "</g>",
        ]
    parts.append(f'<line class="c-axis" x1="{left}" y1="{bottom}" x2="{_WIDTH - right}" y2="{bottom}"/>')
    shown = {0: "start", len(bars) - 1: "end"} | ({len(bars) // 2: "middle"} if len(bars) > 4 else {})
    for i, anchor in sorted(shown.items()):
        place = {"start": float(left), "middle": left + step * (i + 0.5), "end": float(_WIDTH - right)}[anchor]
        text = escape(_cut(bars[i].label, 16))
        parts.append(f'<text class="c-tick" x="{_n(place)}" y="{height - 6}" text-anchor="{anchor}">{text}</text>')
    return _svg(_WIDTH, height, _summary(figure), parts)


def _whisker(start: tuple[str, str], end: tuple[str, str], point: tuple[str, str]) -> list[str]:
    return [
        f'<line class="c-halo" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>',
        f'<line class="c-error" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>',
        f'<circle class="c-point" cx="{point[0]}" cy="{point[1]}" r="2.6"/>',
    ]


def _tail_joined(bars: list[Bar]) -> list[Bar]:
    """The largest bars in their order, and the rest as one: a chart of 300 countries tells nothing."""
    if len(bars) <= MAX_BARS:
        return bars
    order = sorted(range(len(bars)), key=lambda i: -max(bars[i].synthetic, bars[i].released))
    kept = sorted(order[: MAX_BARS - 1])
    rest = [bars[i] for i in sorted(order[MAX_BARS - 1 :])]
    return [*(bars[i] for i in kept), _joined(rest, f"{len(rest)} others")]


def _neighbours_joined(bars: list[Bar]) -> list[Bar]:
    size = math.ceil(len(bars) / MAX_COLUMNS)
    if size == 1:
        return bars
    groups = [bars[i : i + size] for i in range(0, len(bars), size)]
    return [_joined(group, f"{group[0].label} and on") for group in groups]


def _joined(bars: list[Bar], label: str) -> Bar:
    return Bar(
        label,
        math.fsum(bar.released for bar in bars),
        math.sqrt(math.fsum(bar.error**2 for bar in bars)),
        math.fsum(bar.synthetic for bar in bars),
    )


def _highest(bars: list[Bar]) -> float:
    return max(1.0, *(max(bar.released + bar.error, bar.synthetic) for bar in bars), 0.0)


def _summary(figure: MarginalFigure) -> str:
    kind = "bins" if figure.ordered else "categories"
    text = f"Bar chart of {figure.column}, {len(figure.labels)} {kind}: synthetic counts against released noisy counts."
    if figure.distance is not None:
        text += f" They differ by {percent(figure.distance)} of the total. The table below has every number."
    return text


def _words(bar: Bar) -> str:
    return (
        f"{bar.label}: synthetic {_count(round(bar.synthetic))}, "
        f"released {_count(round(bar.released))} ± {_count(math.ceil(bar.error))}"
    )


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,g}"


__all__ = ["Bar", "MarginalFigure", "attacker", "interval", "marginal", "percent", "scale_for"]
