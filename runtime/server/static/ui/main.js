// The page: its two views, the models, and whether the server is there.

import { askKey, call } from "./api.js";
import { watchCache } from "./cache.js";
import { startChat } from "./chat.js";
import { make } from "./markdown.js";
import { startSettings } from "./settings.js";

const byId = (id) => document.getElementById(id);
const VIEWS = ["chat", "cache"];

function show(view) {
  const wasHidden = byId(view).hidden;
  for (const name of VIEWS) {
    byId(name).hidden = name !== view;
    byId(`tab-${name}`).setAttribute("aria-selected", String(name === view));
  }
  if (view === "cache" && wasHidden) watchCache(() => !byId("cache").hidden);
}

async function loadModels() {
  try {
    const { data } = await call("v1/models");
    byId("model").replaceChildren(...data.map(({ id }) => make("option", id, { value: id })));
    byId("state").textContent = `ready, ${data[0].max_model_len} tokens of context`;
  } catch (error) {
    byId("state").textContent = error.message;
    if (error.status === 503 || !error.status) setTimeout(loadModels, 1000);
  }
}

for (const view of VIEWS) byId(`tab-${view}`).onclick = () => show(view);
byId("key").onclick = async () => { if (await askKey()) loadModels(); };
startSettings();
await loadModels();
await startChat();
