"""What charts are drawn with: inline SVG without script, fonts or colours of its own.

A chart takes its colours from the page's style sheet through classes, so that light, dark and paper are the
page's decision. Every text that comes from outside must be escaped before it stands in a part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape


def svg(width: float, height: float, label: str, parts: Sequence[str], *, kind: str = "chart") -> Markup:
    """A drawing with its text alternative; ``kind`` is its class."""
    head = f'<svg class="{kind}" viewBox="0 0 {width} {number(height)}" role="img" aria-label="{escape(label)}">'
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704  every text in parts is a number or was escaped above


def ticks(highest: float) -> list[float]:
    """Round numbers from 0 to at least ``highest``, three to five of them."""
    raw = highest / 3
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    count = math.ceil(highest / step - 1e-9)
    return [round(step * i, 12) for i in range(max(count, 1) + 1)]


def cut(text: str, length: int) -> str:
    """At most ``length`` characters, blanks joined."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def number(value: float) -> str:
    """A coordinate, to a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


__all__ = ["cut", "number", "svg", "ticks"]
