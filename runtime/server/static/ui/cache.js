// The prefix cache and the load of the server, as they are now.

import { call } from "./api.js";
import { make } from "./markdown.js";

const byId = (id) => document.getElementById(id);
const EVERY_MS = 1000;
const NUM_POINTS = 120;
const SVG = "http://www.w3.org/2000/svg";
const LINES = {
  "tokens a second": (load) => load.gen_throughput,
  "running requests": (load) => load.num_running_reqs,
  "share of prompts found in the cache": (load) => load.cache_hit_rate,
};
const history = Object.fromEntries(Object.keys(LINES).map((name) => [name, []]));
const texts = new Map();

function gauges(load) {
  const told = {
    Running: load.num_running_reqs,
    Waiting: load.num_waiting_reqs,
    "Tokens held by requests": `${load.num_used_tokens} of ${load.max_total_num_tokens}`,
    "Found in the cache": `${(100 * load.cache_hit_rate).toFixed(1)} %`,
    "Tokens a second": load.gen_throughput.toFixed(1),
  };
  byId("gauges").replaceChildren(...Object.entries(told).map(([name, value]) => {
    const box = make("div");
    box.append(make("dt", name), make("dd", String(value)));
    return box;
  }));
}

function line(name, points) {
  const most = Math.max(...points, 1e-9);
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", "0 0 240 50");
  drawn.setAttribute("width", "240");
  drawn.setAttribute("height", "50");
  drawn.setAttribute("role", "img");
  drawn.setAttribute("aria-label", `${name}: ${points.at(-1).toFixed(2)}`);
  const path = document.createElementNS(SVG, "polyline");
  path.setAttribute("points", points.map((y, x) => `${(240 * x) / NUM_POINTS},${48 - (46 * y) / most}`).join(" "));
  drawn.append(path);
  const figure = make("figure");
  figure.append(drawn, make("figcaption", `${name}, at most ${most.toFixed(most < 2 ? 2 : 0)}`));
  return figure;
}

async function readTexts(nodes) {
  const unread = nodes.filter((node) => node.token_ids.length && !texts.has(node.id + ":" + node.num_tokens));
  if (!unread.length) return;
  const told = await call("detokenize", { body: { tokens: unread.map((node) => node.token_ids) } });
  if (texts.size > 5000) texts.clear();
  unread.forEach((node, i) => texts.set(node.id + ":" + node.num_tokens, told.text[i]));
}

function nodePart(node, below) {
  const kind = node.num_requests ? "running" : node.is_pinned || node.is_leased ? "pinned" : "";
  const box = make("div", "", { role: "treeitem", "data-testid": "node", "data-tokens": node.num_tokens });
  const text = texts.get(node.id + ":" + node.num_tokens) ?? "";
  const cut = text.length > 90 ? `${text.slice(0, 60)} … ${text.slice(-25)}` : text;
  box.append(make("code", JSON.stringify(cut), { class: kind }), ` ${node.num_tokens} tokens, ${node.hits} hits`);
  const children = below.get(node.id) || [];
  if (children.length) {
    const group = make("div", "", { role: "group" });
    group.append(...children.map((child) => nodePart(child, below)));
    box.append(group);
  } else if (node.num_children) box.append(`, ${node.num_children} below`);
  return box;
}

function drawTree(nodes) {
  const below = new Map();
  for (const node of nodes) if (node.parent !== null) below.set(node.parent, [...(below.get(node.parent) || []), node]);
  const roots = nodes.filter((node) => node.parent === null);
  byId("tree").replaceChildren(...roots.flatMap((root) => below.get(root.id) || []).map((node) => nodePart(node, below)));
}

async function refresh() {
  const { loads: [load] } = await call("v1/loads");
  gauges(load);
  for (const [name, points] of Object.entries(history)) {
    points.push(LINES[name](load));
    if (points.length > NUM_POINTS) points.shift();
  }
  byId("lines").replaceChildren(...Object.entries(history).map(([name, points]) => line(name, points)));
  const { nodes } = await call("v1/cache/tree?max_nodes=300");
  await readTexts(nodes);
  drawTree(nodes);
}

// Asks again and again while `isShown`.
export async function watchCache(isShown) {
  while (isShown()) {
    if (!document.hidden) {
      try {
        await refresh();
      } catch (error) {
        byId("tree").replaceChildren(make("p", error.message, { class: "error" }));
      }
    }
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
}
