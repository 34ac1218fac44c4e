"""Every invariant of the tree, recomputed from its nodes: what tests assert after each operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .node import Int32, Node

if TYPE_CHECKING:
    from .tree import RadixTree


def check_tree(tree: RadixTree) -> list[Int32]:
    """Raises AssertionError naming the node; returns the slots of each node."""
    slots: list[Int32] = []
    leaves: set[int] = set()
    total_len = evictable_len = 0
    for root in tree.roots.values():
        assert root.parent is None, root
        assert root.end == root.key.size == 0, root
        stack = [root]
        while stack:
            node = stack.pop()
            stack.extend(node.children.values())
            _check_children(tree, node)
            if node is root:
                continue
            assert node.key.size == node.slots.size > 0, node
            assert node.key.size % tree.page_size == 0, node
            slots.append(node.slots)
            total_len += node.key.size
            if node.lock == 0:
                evictable_len += node.key.size
                if not node.children:
                    leaves.add(node.id)
    assert total_len == tree.total_len, (total_len, tree.total_len)
    assert evictable_len == tree.evictable_len, (evictable_len, tree.evictable_len)
    entered = [node.id for node in tree.order.nodes()]
    assert len(entered) == len(set(entered)) == len(tree.order), "the order of eviction miscounts"
    assert set(entered) == leaves, "the order of eviction is not the set of unlocked leaves"
    return slots


def _check_children(tree: RadixTree, node: Node) -> None:
    locks = 0
    for first, child in node.children.items():
        page = child.key[: tree.page_size]
        assert first == child.first == (int(page[0]) if tree.page_size == 1 else page.tobytes()), child
        assert child.parent is node, child
        assert child.end == node.end + child.key.size, child
        assert child.lock <= node.lock, child
        assert child.ready_step >= node.ready_step or child.ready_step == 0, child
        locks += child.lock
    assert locks <= node.lock, node
