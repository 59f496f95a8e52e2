"""A picture of bars as SVG, small and the same for the same figures, which reads on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH, _LABEL, _ROW, _TOP = 760, 220, 26, 44


def bars(title: str, values: Sequence[tuple[str, float]], *, unit: str, marked: str) -> str:
    """One bar for each, as long as its value; `marked`: whose bar is in the colour of this project."""
    most = max((value for _, value in values), default=1.0) or 1.0
    height = _TOP + _ROW * len(values) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        f'<text x="14" y="26" font-size="15" font-weight="bold" fill="#1f2933">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(values):
        y = _TOP + number * _ROW
        long = max(2.0, (_WIDTH - _LABEL - 90) * value / most)
        colour = "#c2410c" if name.startswith(marked) else "#64748b"
        lines += [
            f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end" fill="#1f2933">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{y + 2}" width="{long:.1f}" height="18" rx="2" fill="{colour}"/>',
            f'<text x="{_LABEL + long + 6:.1f}" y="{y + 15}" fill="#1f2933">{value:.2f}{escape(unit)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
