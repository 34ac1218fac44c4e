"""Which decode rows share a prefix: kernels compute their attention over it as one (cascade attention)."""

from __future__ import annotations

from ...radix_cache.node import Node
from ..request import Request

MIN_SHARED_LEN = 32  # below that, splitting the attention in two costs more than it saves


def group_by_prefix(requests: list[Request]) -> tuple[list[Request], list[tuple[int, int, int]]]:
    """The requests in an order in which sharers are neighbours, and the groups: (first, end) in that
    order, and the shared tokens.

    Requests whose handles lie under one top node of at least MIN_SHARED_LEN tokens form a group over their longest
    common path, or, where that saves more reading, groups below it.
    """
    paths: dict[Request, list[Node]] = {}
    for request in requests:
        path, node = [], request.handle
        while node is not None and node.parent is not None:
            path.append(node)
            node = node.parent
        paths[request] = path[::-1]
    order: list[Request] = []
    groups: list[tuple[int, int, int]] = []
    if requests:
        _cluster(requests, paths, 0, 0, order, groups)
    return order, groups


def _cluster(
    requests: list[Request],
    paths: dict[Request, list[Node]],
    depth: int,
    shared_len: int,
    order: list[Request],
    groups: list[tuple[int, int, int]],
) -> None:
    """Splits `requests`, which share their first `depth` nodes (`shared_len` tokens), by their next node."""
    while True:
        by_node: dict[Node | None, list[Request]] = {}
        for request in requests:
            path = paths[request]
            by_node.setdefault(path[depth] if len(path) > depth else None, []).append(request)
        only = next(iter(by_node))
        if len(by_node) > 1 or only is None:
            break
        depth, shared_len = depth + 1, only.end
    below = [(node, members) for node, members in by_node.items() if node is not None and len(members) > 1]
    saved_here = (len(requests) - 1) * shared_len if shared_len >= MIN_SHARED_LEN else 0
    saved_below = sum((len(members) - 1) * node.end for node, members in below if node.end >= MIN_SHARED_LEN)
    if len(requests) > 1 and saved_here and saved_here >= saved_below:
        groups.append((len(order), len(order) + len(requests), shared_len))
        order.extend(requests)
        return
    for node, members in by_node.items():
        if node is None or len(members) == 1:
            order.extend(members)
        else:
            _cluster(members, paths, depth + 1, node.end, order, groups)
