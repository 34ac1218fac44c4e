// The conversation that is shown: its messages, the answer that streams in, and what can be done with each.

import { events } from "./api.js";
import { make, markdown } from "./markdown.js";
import { asked } from "./settings.js";
import { Conversation } from "./store.js";
import { keptTokens, textBefore, tokenSpans } from "./tokens.js";

const byId = (id) => document.getElementById(id);
const SAVE_MS = 400;
const now = { conversation: new Conversation(), all: [], running: null, isLeaving: false };

function act(name, work) {
  const button = make("button", name, { type: "button" });
  button.onclick = work;
  return button;
}

function factsOf({ usage, timings }) {
  const { prompt_tokens: prompt, completion_tokens: made, prompt_tokens_details: details } = usage;
  const speed = timings.predicted_per_second ? `, ${timings.predicted_per_second.toFixed(1)} tokens/s` : "";
  return `${prompt} prompt tokens (${details.cached_tokens} cached), ${made} generated, first after ` +
    `${Math.round(timings.ttft_ms)} ms${speed}`;
}

function textPart(message) {
  if (message.role === "user") return make("div", message.text, { class: "text" });
  if (message.tokens && byId("tokens").checked) {
    return tokenSpans(message.tokens, message.text, (count, bytes) => fork(message, count, bytes));
  }
  const part = make("div", "", { class: "text" });
  part.append(markdown(message.text));
  return part;
}

function siblingsPart(message) {
  const all = now.conversation.siblings(message);
  if (all.length < 2) return "";
  const at = all.indexOf(message);
  const part = make("span", "", { class: "siblings" });
  const go = (step) => () => { now.conversation.show(all[(at + step + all.length) % all.length]); changed(); };
  part.append(act("‹", go(-1)), `${at + 1}/${all.length}`, act("›", go(1)));
  part.firstChild.ariaLabel = "The version before";
  part.lastChild.ariaLabel = "The next version";
  return part;
}

function articleOf(message) {
  const box = make("article", "", { class: message.role, "data-testid": message.role, "data-index": message.index });
  box.append(textPart(message));
  if (message.error) box.append(make("p", message.error, { class: "error", role: "alert" }));
  if (message.end) box.append(make("div", message.end, { class: "facts", "data-testid": "facts" }));
  const acts = make("div", "", { class: "acts" });
  acts.append(siblingsPart(message), act("Copy", () => navigator.clipboard?.writeText(message.text)));
  if (message.role === "user") acts.append(act("Edit", () => edit(box, message)));
  else {
    acts.append(act("Again", () => answer(message.parent)));
    if (message.text) acts.append(act("Go on", () => goOn(message)));
  }
  if (!now.running) box.append(acts);
  return box;
}

function edit(box, message) {
  const area = make("textarea", "", { rows: "4", "aria-label": "The message" });
  area.value = message.text;
  const send = act("Send", () => say(area.value, message.parent));
  box.replaceChildren(area, send, act("Cancel", draw));
  area.focus();
}

function draw() {
  const log = byId("log");
  log.replaceChildren(...now.conversation.path().map(articleOf));
  log.scrollTop = log.scrollHeight;
  byId("conversations").replaceChildren(...now.all.map((one) => {
    const button = act(one.title, () => open(one));
    button.setAttribute("aria-current", String(one === now.conversation));
    const item = make("li");
    item.append(button);
    return item;
  }));
  byId("stop").hidden = !now.running;
  byId("send").hidden = Boolean(now.running);
}

async function changed() {
  if (!now.all.includes(now.conversation)) now.all.unshift(now.conversation);
  draw();
  await now.conversation.save();
}

function open(conversation) {
  now.running?.abort();
  now.conversation = conversation;
  draw();
  resume();
}

// What a reload cut off goes on: its text is in the cache of the server, so that costs the rest only.
function resume() {
  const last = now.conversation.path().at(-1);
  if (last?.isRunning) goOn(last);
}

async function say(text, parent) {
  if (!text.trim()) return;
  now.running?.abort();
  const message = now.conversation.add(parent, "user", { text });
  await answer(message.index);
}

function answer(parent) {
  return stream(now.conversation.add(parent, "assistant"));
}

function goOn(message) {
  delete message.tokens; // those of the first part are not told again
  return stream(message);
}

function fork(message, count, bytes) {
  const text = textBefore(message.tokens, count, bytes);
  if (text !== null) stream(now.conversation.add(message.parent, "assistant", { text }));
}

function bodyOf(message) {
  const system = byId("system").value.trim();
  const turns = now.conversation.path().map(({ role, text }) => ({ role, content: text }));
  if (!message.text) turns.pop();
  return {
    model: byId("model").value || undefined,
    messages: system ? [{ role: "system", content: system }, ...turns] : turns,
    stream: true,
    stream_options: { include_usage: true },
    continue_final_message: Boolean(message.text),
    ...asked(),
  };
}

async function stream(message) {
  const conversation = now.conversation;
  const running = (now.running = new AbortController());
  let redraw = 0;
  let saved = performance.now();
  conversation.leaf = message.index;
  message.isRunning = true;
  delete message.error;
  delete message.end;
  const show = () => {
    redraw = 0;
    const box = byId("log").querySelector(`[data-index="${message.index}"]`);
    if (conversation !== now.conversation || !box) return;
    const log = byId("log");
    const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    box.replaceChildren(textPart(message));
    if (follows) log.scrollTop = log.scrollHeight;
  };
  try {
    const body = bodyOf(message);
    const isWhole = !message.text;
    await changed();
    for await (const chunk of events("v1/chat/completions", body, running.signal)) {
      const [choice] = chunk.choices;
      if (chunk.usage) message.end = factsOf(chunk);
      if (!choice) continue;
      message.text += choice.delta.content || "";
      if (choice.logprobs && isWhole) (message.tokens ||= []).push(...keptTokens(choice.logprobs));
      redraw ||= requestAnimationFrame(show);
      if (performance.now() - saved > SAVE_MS) {
        saved = performance.now();
        conversation.save();
      }
    }
  } catch (error) {
    if (error.name !== "AbortError") message.error = error.param ? `${error.message} (${error.param})` : error.message;
  }
  cancelAnimationFrame(redraw);
  if (now.isLeaving) return; // what was kept says that it runs: the next visit goes on with it
  if (now.running === running) now.running = null;
  message.isRunning = false;
  if (conversation === now.conversation) await changed();
  else await conversation.save();
}

function exported() {
  const { title, messages } = now.conversation;
  const data = new Blob([JSON.stringify({ title, messages }, null, 2)], { type: "application/json" });
  const link = make("a", "", { href: URL.createObjectURL(data), download: "conversation.json" });
  link.click();
  URL.revokeObjectURL(link.href);
}

async function dropped() {
  await now.conversation.drop();
  now.all = now.all.filter((one) => one !== now.conversation);
  open(now.all[0] || new Conversation());
}

export async function startChat() {
  byId("ask").onsubmit = (event) => {
    event.preventDefault();
    const text = byId("prompt").value;
    byId("prompt").value = "";
    say(text, now.conversation.leaf);
  };
  byId("prompt").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!now.running) byId("ask").requestSubmit();
  };
  byId("stop").onclick = () => now.running?.abort();
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") now.running?.abort(); });
  addEventListener("pagehide", () => { now.isLeaving = true; });
  addEventListener("pageshow", () => { now.isLeaving = false; });
  byId("new").onclick = () => { open(new Conversation()); byId("prompt").focus(); };
  byId("export").onclick = exported;
  byId("delete").onclick = dropped;
  byId("tokens").addEventListener("change", draw);
  now.all = await Conversation.all().catch(() => []);
  open(now.all[0] || now.conversation);
}
