"""The values that an expression defines, before they are known."""

from __future__ import annotations

from .ir import (
    SglAction,
    SglExpr,
    SglExprList,
    SglGen,
    SglSelect,
    SglSeparateReasoning,
    SglSwitch,
    SglTogether,
    SglVarScopeBegin,
)
from .remote_run import RemoteRun
from .slot import Slot


def declared(expr: SglExpr, scope: str) -> list[Slot]:
    """New, unknown values for what `expr` defines, in its order; `scope` begins their names."""
    if isinstance(expr, SglSeparateReasoning):
        slots = declared(expr.expr, scope)
        names = [slot.name for slot in slots if slot.name]
        return [*slots, *(Slot(SglSeparateReasoning.process_name_for_reasoning(name)) for name in names)]
    if isinstance(expr, SglExprList):
        return [slot for part in expr.expr_list for slot in declared(part, scope)]
    if isinstance(expr, SglTogether):
        return [slot for part in expr.parts for slot in declared(part, scope)]
    if isinstance(expr, SglSwitch):  # a name that several cases define is one value
        shared: dict[str, Slot] = {}
        slots = [slot for case in expr.all_cases() for slot in declared(case, scope)]
        return [shared.setdefault(slot.name, slot) if slot.name else slot for slot in slots]
    if isinstance(expr, RemoteRun):
        return [Slot(name, dtype=expr.types.get(name), tools=expr.tools.get(name)) for name in expr.names]
    if isinstance(expr, SglAction):
        return [Slot("", node=expr.graph_node)]
    if isinstance(expr, SglGen):
        slot = Slot(scope + expr.name if expr.name else "", expr.where, dtype=expr.options.get("dtype"))
        slot.node, slot.tools = expr.graph_node, expr.options.get("tools")
        grammar = expr.options.get("grammar")
        captured = [] if grammar is None else grammar.names()
        return [slot, *(Slot(scope + name, expr.where, dtype=dtype) for name, dtype in captured)]
    if isinstance(expr, SglSelect):
        return [Slot(scope + expr.name if expr.name else "", expr.where, node=expr.graph_node)]
    return [Slot(expr.name)] if isinstance(expr, SglVarScopeBegin) else []
