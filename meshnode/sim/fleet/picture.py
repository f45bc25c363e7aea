"""Picture: p99 against load for each policy as an SVG of our own, without any library."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 460, 70, 190, 40, 50
COLOURS = (
    "#0b6e4f", "#222222", "#c1121f", "#1d4e89", "#b5651d", "#7b2d8b", "#2a9d8f", "#e07a5f",
    "#6c757d", "#a98467", "#457b9d", "#9a031e",
)  # fmt: skip

Curve = Sequence[tuple[float, float]]
"""(load as a share of capacity, p99 in ms), by load."""
Scale = Callable[[float], float]


def draw(curves: Mapping[str, Curve], *, title: str, sla_ms: float) -> str:
    """Return the picture: load in percent across, ms up on a scale of decades."""
    points = [p for curve in curves.values() for p in curve]
    if not points:
        raise ValueError("a picture needs a point")
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    if high <= low:
        low, high = low - 0.05, high + 0.05
    values = [max(1.0, y) for _, y in points] + [sla_ms]
    floor_ms, top_ms = 10 ** floor(log10(min(values))), 10 ** ceil(log10(max(values)))
    if top_ms <= floor_ms:
        top_ms = floor_ms * 10

    def x_of(load: float) -> float:
        return LEFT + (load - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y_of(ms: float) -> float:
        share = (log10(max(ms, floor_ms)) - log10(floor_ms)) / (log10(top_ms) - log10(floor_ms))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [*_head(title), *_grid(sorted({x for x, _ in points}), floor_ms, top_ms, x_of, y_of)]
    y = y_of(sla_ms)
    parts.append(
        f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#888" stroke-dasharray="6 4"/>'
        f'<text x="{LEFT + 4}" y="{y - 4:.1f}" fill="#666">{sla_ms:g} ms</text>'
    )
    for place, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[place % len(COLOURS)]
        way = " ".join(f"{x_of(x):.1f},{y_of(ms):.1f}" for x, ms in sorted(curve))
        width = 3 if place == 0 else 1.6
        parts.append(
            f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )
        parts += [
            f'<circle cx="{x_of(x):.1f}" cy="{y_of(ms):.1f}" r="3" fill="{colour}"/>'
            for x, ms in curve
        ]
        row = TOP + 16 * place
        parts.append(
            f'<path d="M{WIDTH - RIGHT + 12} {row}h20" stroke="{colour}" stroke-width="{width}"/>'
            f'<text x="{WIDTH - RIGHT + 38}" y="{row + 4}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _head(title: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">'
        f"load, % of capacity</text>",
        f'<text x="16" y="{(TOP + HEIGHT - BOTTOM) / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2:.0f})">p99, ms</text>',
    ]


def _grid(
    loads: Sequence[float],
    floor_ms: float,
    top_ms: float,
    x_of: Scale,
    y_of: Scale,
) -> list[str]:
    parts: list[str] = []
    ms = floor_ms
    while ms <= top_ms * 1.001:
        for step in (1, 2, 5):
            if ms * step <= top_ms * 1.001:
                y = y_of(ms * step)
                parts.append(
                    f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                    f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{ms * step:g}</text>'
                )
        ms *= 10
    for load in loads:
        x = x_of(load)
        parts.append(
            f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#eee"/>'
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
            f"{100 * load:.0f}</text>"
        )
    return parts
