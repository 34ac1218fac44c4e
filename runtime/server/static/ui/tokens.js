// An answer token by token: how likely each was, what else could have stood there, and a way to take that instead.

import { make } from "./markdown.js";

// What a stream tells of its tokens, as it is kept: the bytes of each, its probability and its rivals.
export function keptTokens(logprobs) {
  return logprobs.content.map((one) => ({
    bytes: one.bytes,
    p: Math.exp(one.logprob),
    rivals: one.top_logprobs.map((other) => ({ bytes: other.bytes, p: Math.exp(other.logprob) })),
  }));
}

function textOf(bytes) {
  return new TextDecoder().decode(new Uint8Array(bytes));
}

function shown(bytes) {
  return JSON.stringify(textOf(bytes)).slice(1, -1) || "(end)";
}

function percent(p) {
  return `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`;
}

// One span a token; the texts of all together are `answer`, so that of what ended it is empty. `fork(count, bytes)`:
// begin anew with `count` tokens kept.
export function tokenSpans(tokens, answer, fork) {
  const box = make("div", "", { class: "tokens", "data-testid": "token-view" });
  const decoder = new TextDecoder();
  tokens.forEach((token, index) => {
    // A character may lie in several tokens: it stands in the span of its last one.
    const own = decoder.decode(new Uint8Array(token.bytes), { stream: index + 1 < tokens.length });
    const text = answer.startsWith(own) ? own : "";
    answer = answer.slice(text.length);
    const span = make("span", text, { tabindex: "0", role: "button", title: `${shown(token.bytes)}: ${percent(token.p)}` });
    span.style.setProperty("--p", token.p.toFixed(3));
    const open = () => {
      box.parentNode.querySelectorAll(".choices").forEach((other) => other.remove());
      box.after(choices(token, (bytes) => fork(index, bytes)));
    };
    span.onclick = open;
    span.onkeydown = (event) => { if (event.key === "Enter") open(); };
    box.append(span);
  });
  return box;
}

function choices(token, take) {
  const box = make("div", "What could stand here: ", { class: "choices" });
  for (const rival of token.rivals) {
    const button = make("button", `${shown(rival.bytes)} ${percent(rival.p)}`, { type: "button" });
    button.onclick = () => take(rival.bytes);
    box.append(button);
  }
  return box;
}

// The text of the first `count` tokens and then `bytes`; null where that ends within a character.
export function textBefore(tokens, count, bytes) {
  const all = [...tokens.slice(0, count).flatMap((token) => token.bytes), ...bytes];
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(all));
  } catch {
    return null;
  }
}
