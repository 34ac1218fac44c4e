"""A finished run for people and programs: as JSON, and as one HTML file that needs nothing else."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .state import ProgramState

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>run</title><style>
body {{ font: 14px system-ui, sans-serif; margin: 24px; max-width: 60em; color: #1c2733; background: #fff; }}
pre {{ white-space: pre-wrap; font: 13px/1.6 ui-monospace, monospace; }}
pre {{ border-left: 3px solid #b6c0cc; padding-left: 12px; }}
.text-cached {{ background: #dbe9fb; }} .text-computed {{ background: #f8e2d3; }}
mark {{ background: #d9f2dd; color: inherit; }} mark.forced {{ background: #ffe9c2; }}
small {{ color: #5b6875; }} .bar {{ display: inline-block; height: 8px; }} .cached {{ background: #7fb2f0; }}
.computed {{ background: #e08a5b; }} .made {{ background: #74c686; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14191f; color: #dfe6ee; }} small {{ color: #93a0ad; }}
mark {{ background: #1f4a2a; }} mark.forced {{ background: #57431a; }}
.text-cached {{ background: #1d3350; }} .text-computed {{ background: #4a2f1d; }} }}
</style></head><body><h1>Run</h1><p>{usage}</p>
<p><span class="bar cached" style="width:12px"></span> prompt from the cache
<span class="bar computed" style="width:12px"></span> prompt computed
<span class="bar made" style="width:12px"></span> generated; a yellow ground: some of it forced by its grammar</p>
{streams}
</body></html>
"""


_TIMINGS = ("queue_ms", "prefill_ms", "grammar_ms")


def run_json(state: ProgramState) -> str:
    """Text, messages, variables, usage and events; values that JSON does not know become their text."""
    stream = state.stream_executor
    whole = {
        "text": state.text(),
        "messages": state.messages(),
        "variables": {name: state.get_var(name) for name in stream.slots if name},
        "usage": state.usage.counts(),
        "events": state.events(),
    }
    return json.dumps(whole, ensure_ascii=False, default=str)


def run_html(state: ProgramState) -> str:
    """Each stream that made something, in the order of its first call."""
    state.sync()
    root = state.stream_executor
    events = [event for event in state.events() if event["event"] == "value" and "before" in event]
    parts = []
    for number, sid in enumerate(dict.fromkeys([root.sid, *(event["stream"] for event in events)])):
        own = [event for event in events if event["stream"] == sid]
        told = len("".join(event["before"] + _made(event) for event in own))
        parts.append(_stream(own, root.text_[told:] if sid == root.sid else "", number))
    failure = "" if root.error_ is None else f"<p>failed: {html.escape(str(root.error_))}</p>"
    usage = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in state.usage.counts().items())
    return _PAGE.format(usage=html.escape(usage), streams="\n".join([*parts, failure]))


def _made(event: dict[str, Any]) -> str:
    value = event["value"]
    return str(value[0] if isinstance(value, list) and value else value)


def _stream(events: list[dict[str, Any]], rest: str, number: int) -> str:
    pieces: list[str] = []
    for event in events:
        forced = " class='forced'" if event["meta_info"].get("forced_tokens") else ""
        title = html.escape(_told(event), quote=True)
        pieces += _prompt(event)
        pieces.append(f"<mark{forced} title='{title}'>{html.escape(_made(event))}</mark>{_bars(event)}")
    return f"<h2>Stream {number}</h2><pre>{''.join(pieces)}{html.escape(rest)}</pre>"


def _prompt(event: dict[str, Any]) -> list[str]:
    """The text before a call: what the cache held of it, and what was computed. Tokens are counted, not placed: the
    border is right to about a token."""
    text, meta = event["before"], event["meta_info"]
    tokens, chars = int(meta.get("prompt_tokens") or 0), int(event.get("prompt_chars") or 0)
    if not tokens or not text:
        return [html.escape(text)]
    cached_chars = round(chars * int(meta.get("cached_tokens") or 0) / tokens)
    border = min(max(cached_chars - (chars - len(text)), 0), len(text))
    marked = (("cached", text[:border]), ("computed", text[border:]))
    return [f"<span class='text-{kind}'>{html.escape(part)}</span>" for kind, part in marked if part]


def _told(event: dict[str, Any]) -> str:
    meta = event["meta_info"]
    latency = meta.get("e2e_latency")
    told = [
        event["name"] or "gen",
        f"{meta.get('cached_tokens', 0)} of {meta.get('prompt_tokens', 0)} prompt tokens cached",
        f"{meta.get('completion_tokens', 0)} generated, {meta.get('forced_tokens', 0)} of them forced",
        *([] if latency is None else [f"{latency * 1000:.0f} ms"]),
        *(f"{name.removesuffix('_ms')} {meta[name]:.1f} ms" for name in _TIMINGS if meta.get(name)),
        f"known after {event['time_s']:.3f} s",
    ]
    return "; ".join(told)


def _bars(event: dict[str, Any]) -> str:
    meta = event["meta_info"]
    cached = int(meta.get("cached_tokens") or 0)
    counts = (
        ("cached", cached),
        ("computed", int(meta.get("prompt_tokens") or 0) - cached),
        ("made", int(meta.get("completion_tokens") or 0)),
    )
    bars = "".join(f"<span class='bar {k}' style='width:{min(n, 400) // 2}px'></span>" for k, n in counts if n > 0)
    return f"<small> {bars} </small>"
