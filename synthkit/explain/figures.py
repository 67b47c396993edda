"""Explanations as charts: bars, swarms, waterfalls, overlays. Inline SVG, as the report draws it.

No meaning is carried by colour alone: what pushes up is filled and stands right of the line, what pushes down is
hollow and stands left of it, and every figure has its words and its numbers beside it.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from synthkit.svg import cut, number, svg, ticks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synthkit.explain.agreement import Agreement
    from synthkit.explain.images import Picture
    from synthkit.explain.model import Subject
    from synthkit.privacy.mechanisms.attributions import NoisyImportance

MOST_COLUMNS = 15  # drawn one by one; the others are in the table
_WIDTH, _LEFT, _RIGHT, _ROW = 640, 182, 46, 26


def bars(subject: Subject) -> Markup:
    """Mean absolute values, with the range over seeds as a line through each bar's end."""
    one, low, high = subject.explained, subject.seeds.min(axis=0), subject.seeds.max(axis=0)
    order = np.argsort(-one.importance, kind="stable")[:MOST_COLUMNS]
    top = max(float(high[order].max()), 1e-12)
    scale = ticks(top)
    x = _across(0.0, scale[-1])
    bottom = 6 + _ROW * len(order)
    parts = _grid(scale, x, 6, bottom)
    for place, j in enumerate(order):
        y = 6 + _ROW * place
        words = f"{one.columns[j]}: {_short(one.importance[j])}, {_short(low[j])} to {_short(high[j])} over seeds"
        parts += [
            f"<g><title>{escape(words)}</title>",
            _label(one.columns[j], y),
            f'<rect class="c-bar" x="{_LEFT}" y="{y + 5}" width="{number(max(0.0, x(one.importance[j]) - _LEFT))}" height="{_ROW - 10}"/>',
            *_line("c-halo", x(low[j]), x(high[j]), y + _ROW / 2),
            *_line("c-error", x(low[j]), x(high[j]), y + _ROW / 2),
            f'<circle class="c-point" cx="{number(x(one.importance[j]))}" cy="{number(y + _ROW / 2)}" r="2.6"/>',
            "</g>",
        ]
    parts.append(f'<line class="c-axis" x1="{_LEFT}" y1="6" x2="{_LEFT}" y2="{bottom}"/>')
    told = ", ".join(f"{one.columns[j]} {_short(one.importance[j])}" for j in order[:5])
    return svg(
        _WIDTH,
        bottom + 22,
        f"Bar chart of importance by column. Largest: {told}. Numbers are in the table below.",
        parts,
    )


def swarm(subject: Subject) -> Markup:
    """One mark a row and column: where it stands says how the value moved the score, its fill which value it was.

    Of ordered columns, values below the median of these rows are hollow, the others filled; categories are all filled.
    """
    one = subject.explained
    order = np.argsort(-one.importance, kind="stable")[:MOST_COLUMNS]
    reach = max(float(np.abs(one.values[:, order]).max(initial=0.0)), 1e-12)
    scale = _both(reach)
    x = _across(scale[0], scale[-1])
    height = 30
    bottom = 6 + height * len(order)
    parts = _grid(scale, x, 6, bottom)
    for place, j in enumerate(order):
        middle = 6 + height * (place + 0.5)
        parts += [f"<g><title>{escape(_direction(subject, int(j)))}</title>", _label(one.columns[j], middle - _ROW / 2)]
        middle_code = float(np.median(one.rows[:, j]))
        for value, code, lift in zip(one.values[:, j], one.rows[:, j], _lifts(one.values[:, j], reach), strict=True):
            low = one.columns[j] in subject.ordered and code < middle_code
            parts.append(
                f'<circle class="{"c-low" if low else "c-high"}" cx="{number(x(value))}" cy="{number(middle + lift)}" r="2.4"/>'
            )
        parts.append("</g>")
    parts.append(f'<line class="c-axis" x1="{number(x(0))}" y1="6" x2="{number(x(0))}" y2="{bottom}"/>')
    told = " ".join(_direction(subject, int(j)) for j in order[:4])
    return svg(_WIDTH, bottom + 22, f"Swarm chart: every synthetic row's values by column. {told}", parts)


def waterfall(subject: Subject, row: int) -> Markup:
    """From the base to the row's score, one step a column, the largest first."""
    one, words = subject.explained, subject.row_words(row)
    order = [int(j) for j in np.argsort(-np.abs(one.values[row]), kind="stable")]
    steps = [(f"{one.columns[j]} = {words[j]}", float(one.values[row, j])) for j in order[:9]]
    if len(order) > 9:
        steps.append((f"{len(order) - 9} others", float(one.values[row, order[9:]].sum())))
    at = np.cumsum([float(one.base[row]), *(value for _, value in steps)])
    low, high = float(at.min()), float(at.max())
    pad = max((high - low) * 0.08, 1e-9)
    x = _across(low - pad, high + pad)
    parts: list[str] = []
    for place, (label, value) in enumerate(steps):
        y, start, end = 24 + _ROW * place, x(at[place]), x(at[place + 1])
        left, right = min(start, end), max(start, end)
        kind = "c-up" if value >= 0 else "c-down"
        parts += [
            f"<g><title>{escape(f'{label}: {_signed(value)}')}</title>",
            _label(label, y),
            f'<rect class="{kind}" x="{number(left)}" y="{y + 5}" width="{number(max(right - left, 0.8))}" height="{_ROW - 10}"/>',
            f'<text class="c-tick" x="{number(right + 5)}" y="{y + 17}">{_signed(value)}</text>',
            f'<line class="c-grid" x1="{number(end)}" y1="{y + _ROW - 5}" x2="{number(end)}" y2="{y + _ROW + 5}"/>',
            "</g>",
        ]
    bottom = 24 + _ROW * len(steps)
    for value, y, words_of in ((at[0], 14, "without any column"), (at[-1], bottom + 16, "this row")):
        anchor = "start" if x(value) < _WIDTH / 2 else "end"
        parts.append(
            f'<text class="c-label" x="{number(x(value))}" y="{y}" text-anchor="{anchor}">{words_of}: {_short(value)}</text>'
        )
    told = "; ".join(f"{label} {_signed(value)}" for label, value in steps)
    return svg(_WIDTH, bottom + 24, f"Waterfall from {_short(at[0])} to {_short(at[-1])}: {told}.", parts)


def beside(subject: Subject, place: int) -> Markup:
    """A row's Shapley values (bars) and its local surrogate's weights (marks) on one line."""
    one, row = subject.explained, subject.surrogate_rows[place]
    weights, words = subject.surrogate.weights[place], subject.row_words(row)
    order = np.argsort(-np.abs(one.values[row]), kind="stable")[:8]
    reach = max(float(np.abs(one.values[row, order]).max()), float(np.abs(weights[order]).max()), 1e-12)
    scale = _both(reach)
    x = _across(scale[0], scale[-1])
    bottom = 6 + _ROW * len(order)
    parts = _grid(scale, x, 6, bottom)
    for k, j in enumerate(order):
        y, value = 6 + _ROW * k, float(one.values[row, j])
        left, right = min(x(0), x(value)), max(x(0), x(value))
        label = f"{one.columns[j]} = {words[j]}"
        at, middle = x(float(weights[j])), y + _ROW / 2
        parts += [
            f"<g><title>{escape(f'{label}: Shapley {_signed(value)}, LIME {_signed(float(weights[j]))}')}</title>",
            _label(label, y),
            f'<rect class="{"c-up" if value >= 0 else "c-down"}" x="{number(left)}" y="{y + 5}" width="{number(max(right - left, 0.8))}" height="{_ROW - 10}"/>',
            f'<path class="c-mark" d="M{number(at)} {number(middle - 6)}l5 6l-5 6l-5 -6z"/>',
            "</g>",
        ]
    parts.append(f'<line class="c-axis" x1="{number(x(0))}" y1="6" x2="{number(x(0))}" y2="{bottom}"/>')
    label = f"Shapley values and LIME weights of one row; rank correlation {subject.lime_agreement[place]:.2f}."
    return svg(_WIDTH, bottom + 22, label, parts)


def overlay(found: Agreement) -> Markup:
    """Importances as shares: bars by the model trained on real rows, marks by the one trained on synthetic rows."""
    order = np.argsort(-np.maximum(found.real, found.synthetic), kind="stable")[:MOST_COLUMNS]
    scale = ticks(max(float(found.real.max()), float(found.synthetic.max()), 1e-12))
    x = _across(0.0, scale[-1])
    bottom = 6 + _ROW * len(order)
    parts = _grid(scale, x, 6, bottom)
    for k, j in enumerate(order):
        y, middle, at = 6 + _ROW * k, 6 + _ROW * (k + 0.5), x(float(found.synthetic[j]))
        words = f"{found.columns[j]}: trained on real {found.real[j]:.3f}, on synthetic {found.synthetic[j]:.3f}"
        parts += [
            f"<g><title>{escape(words)}</title>",
            _label(found.columns[j], y),
            f'<rect class="c-bar" x="{_LEFT}" y="{y + 5}" width="{number(x(float(found.real[j])) - _LEFT)}" height="{_ROW - 10}"/>',
            f'<path class="c-mark" d="M{number(at)} {number(middle - 6)}l5 6l-5 6l-5 -6z"/>',
            "</g>",
        ]
    return svg(_WIDTH, bottom + 22, f"Importances of two models. {found.verdict}", parts)


def by_value(subject: Subject, most: int = 8) -> list[dict[str, Any]]:
    """The text alternative of the swarm: mean value by code of the most important columns."""
    one = subject.explained
    found = []
    for j in np.argsort(-one.importance, kind="stable")[:most]:
        name = one.columns[j]
        lines = [
            {"label": label, "rows": int(mask.sum()), "mean": float(one.values[mask, j].mean())}
            for code, label in enumerate(subject.labels[name])
            if (mask := one.rows[:, j] == code).any()
        ]
        found.append({"column": name, "lines": lines})
    return found


def ranked(found: NoisyImportance) -> list[tuple[str, float]]:
    """Columns with what they matter on real rows, the most important first."""
    order = np.argsort(-found.values, kind="stable")
    return [(found.columns[j], float(found.values[j])) for j in order]


def badges(subject: Subject, place: int | None = None) -> list[tuple[str, str, bool]]:
    """What is known of a figure's trustworthiness: name, words, whether it passed.

    Args:
        subject: whose figure it is.
        place: of one surrogate, where the figure is of its row; None: of all.
    """
    one, steady = subject.explained, subject.stability
    share = float(subject.surrogate.faithful.mean())
    lime = f"{share:.0%} of rows looked at", share >= 0.5
    if place is not None:
        lime = f"local R² {subject.surrogate.r2[place]:.2f} at this row", bool(subject.surrogate.faithful[place])
    error = "exact" if one.errors is None else f"standard error {100 * one.relative_error:.1f}% of the mean value"
    return [
        ("Adds up", f"gap {one.gap:.1g}; {error}", True),  # what does not add up is never returned
        (
            "Stable over seeds",
            f"rank correlation {steady.spearman:.2f}, first three {steady.jaccard:.2f}",
            steady.stable,
        ),
        ("Deletion", f"beats {subject.deletion:.0%} of random orders", subject.deletion >= 0.95),
        ("LIME faithful", *lime),
        ("Paid", one.payment, one.payment != "internal"),
    ]


def notebook(subject: Subject) -> str:
    """A view for notebooks: the verdict, the badges and the bars, with its own few styles."""
    style = (
        "<style>.synthkit-explained{max-width:44rem;font:14px/1.5 system-ui,sans-serif}.synthkit-explained .c-bar{fill:#a9c6de}"
        ".synthkit-explained .c-grid{stroke:#8884}.synthkit-explained .c-axis,.synthkit-explained .c-error{stroke:currentColor}"
        ".synthkit-explained .c-halo{stroke:none}.synthkit-explained text{fill:currentColor;font-size:11px}</style>"
    )
    told = "; ".join(f"{name.lower()}{'' if good else ' (no)'}: {words}" for name, words, good in badges(subject))
    return (
        f'{style}<div class="synthkit-explained"><p><b>{escape(subject.verdict)}</b></p>'
        f"{bars(subject)}<p>{escape(told)}</p></div>"
    )


def picture(
    pixels: NDArray[np.uint8], segments: NDArray[np.int64], weights: NDArray[np.float64] | None, label: str
) -> Markup:
    """An image; over it, superpixels that raise the score (+) and that lower it (a minus), the stronger the denser.

    Args:
        pixels: uint8 (channels, height, width).
        segments: (height, width) superpixel of each pixel.
        weights: (k,) one a superpixel; None for the image alone.
        label: the picture in words.
    """
    _, height, width = pixels.shape
    shown = np.moveaxis(pixels.repeat(3, axis=0) if len(pixels) == 1 else pixels, 0, -1)  # (h, w, 3)
    parts = [_image(shown, height, width)]
    if weights is not None:
        share = weights / (float(np.abs(weights).max()) or 1.0)
        tint = np.zeros((height, width, 4), dtype=np.uint8)
        tint[share[segments] > 0, :3], tint[share[segments] < 0, :3] = (29, 111, 184), (217, 130, 0)
        tint[..., 3] = (40 + 130 * np.abs(share[segments])).astype(np.uint8) * (np.abs(share[segments]) >= 0.1)
        parts.append(_image(tint, height, width))
        size = max(height, width) / 9
        for k in np.flatnonzero(np.abs(share) >= 0.1):
            where = np.argwhere(segments == k)
            y, x = where[np.abs(where - where.mean(axis=0)).sum(axis=1).argmin()] + 0.5
            sign = "+" if share[k] > 0 else "−"
            parts.append(
                f'<text class="c-sign" font-size="{number(size)}" stroke-width="{number(size / 6)}" '
                f'x="{number(x)}" y="{number(y + size / 3)}" text-anchor="middle">{sign}</text>'
            )
    return svg(width, height, label, parts, kind="picture")


def pictures(found: Picture) -> list[Markup]:
    """The image, its Shapley values, LIME's weights and, where complete, integrated gradients."""
    raised, lowered = int((found.values > 0).sum()), int((found.values < 0).sum())
    drawn = [
        picture(found.pixels, found.segments, None, f"The image. {found.title}"),
        picture(
            found.pixels, found.segments, found.values,
            f"Shapley values: {raised} superpixels raise the score, {lowered} lower it; {_places(found.segments, found.values)}",
        ),
        picture(found.pixels, found.segments, found.weights, f"LIME weights; {_places(found.segments, found.weights)}"),
    ]  # fmt: skip
    if found.gradients is not None:
        told = f"Integrated gradients by superpixel; {_places(found.segments, found.gradients)}"
        drawn.append(picture(found.pixels, found.segments, found.gradients, told))
    return drawn


def _places(segments: NDArray[np.int64], weights: NDArray[np.float64]) -> str:
    """Where the strongest superpixel lies, in words."""
    k = int(np.abs(weights).argmax())
    y, x = np.argwhere(segments == k).mean(axis=0) / segments.shape
    down = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else "middle"
    across = "left" if x < 1 / 3 else "right" if x > 2 / 3 else "centre"
    return (
        f"the strongest, {down} {across}, {'raises' if weights[k] >= 0 else 'lowers'} it by {_short(abs(weights[k]))}."
    )


def _image(pixels: NDArray[np.uint8], height: int, width: int) -> str:
    """A PNG inside the page."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<image href="data:image/png;base64,{data}" width="{width}" height="{height}" image-rendering="pixelated"/>'


def _across(low: float, high: float) -> Any:
    span = (high - low) or 1.0
    return lambda at: _LEFT + (_WIDTH - _LEFT - _RIGHT) * (float(at) - low) / span


def _both(reach: float) -> list[float]:
    """Round numbers from below minus ``reach`` to above it."""
    above = ticks(reach)
    return [*(-tick for tick in above[:0:-1]), *above]


def _grid(scale: Sequence[float], x: Any, top: float, bottom: float) -> list[str]:
    parts = []
    for tick in scale:
        at = number(x(tick))
        parts.append(f'<line class="c-grid" x1="{at}" y1="{number(top)}" x2="{at}" y2="{number(bottom)}"/>')
        parts.append(
            f'<text class="c-tick" x="{at}" y="{number(bottom + 14)}" text-anchor="middle">{_short(tick)}</text>'
        )
    return parts


def _label(text: str, y: float) -> str:
    return f'<text class="c-label" x="{_LEFT - 8}" y="{number(y + _ROW / 2 + 4)}" text-anchor="end">{escape(cut(text, 24))}</text>'


def _line(kind: str, start: float, end: float, y: float) -> list[str]:
    return [f'<line class="{kind}" x1="{number(start)}" y1="{number(y)}" x2="{number(end)}" y2="{number(y)}"/>']


def _lifts(values: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Where values crowd, marks are put above and below each other: offsets within 11 pixels."""
    bins = np.round(values / reach * 60).astype(int)
    lifts = np.zeros(len(values))
    for level in np.unique(bins):
        members = np.flatnonzero(bins == level)
        step = min(4.0, 22.0 / max(1, len(members)))
        lifts[members] = (np.arange(len(members)) - (len(members) - 1) / 2) * step
    return lifts


def _direction(subject: Subject, j: int) -> str:
    """In words, what high and low values of a column do; of a category, which one does most."""
    one, name = subject.explained, subject.explained.columns[j]
    values, codes = one.values[:, j], one.rows[:, j]
    if name in subject.ordered and np.ptp(codes) > 0 and np.ptp(values) > 0:
        slope = float(np.corrcoef(codes, values)[0, 1])
        if abs(slope) >= 0.3:
            return f"{name}: high values {'raise' if slope > 0 else 'lower'} the score."
        return f"{name}: no single direction."
    means = {code: float(values[codes == code].mean()) for code in np.unique(codes)}
    code = max(means, key=lambda c: abs(means[c]))
    return f"{name}: {subject.labels[name][int(code)]} {'raises' if means[code] >= 0 else 'lowers'} it most."


def _short(value: float) -> str:
    value = float(value)
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "0" if abs(value) < 1e-12 or not math.isfinite(value) else text.replace("-", "−")


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "") + _short(value)


__all__ = [
    "MOST_COLUMNS",
    "badges",
    "bars",
    "beside",
    "by_value",
    "notebook",
    "overlay",
    "picture",
    "pictures",
    "ranked",
    "swarm",
    "waterfall",
]
