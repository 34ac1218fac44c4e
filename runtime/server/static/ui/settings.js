// What the panel beside a conversation asks for, and whether its constraint can be served.

import { call } from "./api.js";

const byId = (id) => document.getElementById(id);
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
const KEPT = [...NUMBERS, "stop_string", "system", "kind", "grammar", "sample"];
const CHECK_MS = 400;

function constraint() {
  const kind = byId("kind").value;
  const text = byId("grammar").value;
  if (!kind || !text.trim()) return {};
  if (kind !== "json_schema") return { [kind]: text };
  return { response_format: { type: "json_schema", json_schema: { name: "answer", schema: JSON.parse(text) } } };
}

// The fields of a chat request. Throws where the schema is no JSON.
export function asked() {
  const fields = constraint();
  for (const name of NUMBERS) if (byId(name).value !== "") fields[name] = Number(byId(name).value);
  if (byId("stop_string").value) fields.stop = byId("stop_string").value;
  if (byId("tokens").checked) Object.assign(fields, { logprobs: true, top_logprobs: 8 });
  return fields;
}

async function verdict() {
  const sample = byId("sample").value;
  let told;
  try {
    const fields = constraint();
    if (!Object.keys(fields).length) return ["", false];
    told = await call("v1/grammar/check", { body: sample ? { ...fields, text: sample } : fields });
  } catch (error) {
    return [error.message, true];
  }
  if (!told.ok) return [`${told.error.message} (${told.error.param || told.error.code})`, true];
  const example = told.example === undefined ? "" : `, for example ${told.example}`;
  if (!sample) return [`Can be served${example}.`, false];
  const { is_accepted: fits, num_bytes: count } = told.text;
  return [fits ? "The text is accepted." : `The text fails after ${count} bytes.`, !fits];
}

let checks = 0;

function check() {
  byId("constraint").hidden = !byId("kind").value;
  checks += 1;
  const own = checks;
  setTimeout(async () => {
    if (own !== checks) return;
    const [text, bad] = await verdict();
    if (own !== checks) return;
    byId("verdict").textContent = text;
    byId("verdict").classList.toggle("error", bad);
  }, CHECK_MS);
}

export function startSettings() {
  const kept = JSON.parse(localStorage.getItem("radixlang-settings") || "{}");
  for (const name of KEPT) if (kept[name] !== undefined) byId(name).value = kept[name];
  byId("tokens").checked = Boolean(kept.tokens);
  byId("settings").addEventListener("input", (event) => {
    const now = Object.fromEntries(KEPT.map((name) => [name, byId(name).value]));
    localStorage.setItem("radixlang-settings", JSON.stringify({ ...now, tokens: byId("tokens").checked }));
    if (["kind", "grammar", "sample"].includes(event.target.id)) check();
  });
  if (matchMedia("(max-width: 60rem)").matches) byId("settings").open = false;
  check();
}
