"""A graph as one HTML or SVG file that needs nothing else: streams as columns, nodes in rows, values as arrows."""

from __future__ import annotations

import html

from .graph import ASKING, Node, ProgramGraph

_COLUMN, _ROW, _WIDTH, _HEIGHT = 260, 58, 220, 36
_STYLE = """
svg text { font: 12px ui-monospace, monospace; fill: #1c2733; }
rect { fill: #f2f4f7; stroke: #b6c0cc; } rect.asks { fill: #fff1d6; stroke: #d9952b; }
line { stroke: #8794a3; } line.data { stroke: #2f6fd0; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) { svg text { fill: #dfe6ee; }
rect { fill: #222b35; } rect.asks { fill: #4a3a1b; } }
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 13px system-ui, sans-serif; margin: 24px; color: #1c2733; background: #fff; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14191f; color: #dfe6ee; }} }}
</style></head><body><h1>{title}</h1><p>{stats}</p>
{svg}</body></html>
"""


def graph_svg(graph: ProgramGraph) -> str:
    """Solid lines: text order and forks; dashed ones: values."""
    order = {stream: i for i, stream in enumerate(sorted({node.stream for node in graph.nodes}))}
    places = {node.id: (20 + order[node.stream] * _COLUMN, 20 + node.id * _ROW) for node in graph.nodes}
    lines = [
        f'<line class="{kind}" x1="{places[a][0] + _WIDTH // 2}" y1="{places[a][1] + _HEIGHT}" '
        f'x2="{places[b][0] + _WIDTH // 2}" y2="{places[b][1]}"/>'
        for a, b, kind in graph.edges
    ]
    boxes = [_box(node, *places[node.id]) for node in graph.nodes]
    width, height = 40 + max(len(order), 1) * _COLUMN, 40 + len(graph.nodes) * _ROW
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img"'
    label = f'aria-label="request graph of {html.escape(graph.name)}"'
    return "\n".join([f"{head} {label}>", f"<style>{_STYLE}</style>", *lines, *boxes, "</svg>"]) + "\n"


def graph_html(graph: ProgramGraph) -> str:
    """The graph and its counts."""
    stats = ", ".join(f"{name} {count}" for name, count in graph.stats().items())
    return _PAGE.format(title=html.escape(graph.name), stats=html.escape(stats), svg=graph_svg(graph))


def _box(node: Node, x: int, y: int) -> str:
    label = node.label()
    shown = label if len(label) <= 30 else label[:29] + "…"
    whole = html.escape(f"{label}\n{node.source or ''}")
    kind = "asks" if node.kind in ASKING else "plain"
    return (
        f'<g><title>{whole}</title><rect class="{kind}" x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        f'<text x="{x + 8}" y="{y + 22}">{html.escape(shown)}</text></g>'
    )
