"use strict";
// The routes of /openapi.json, each with its fields and a form that sends a request. Nothing comes from elsewhere.

const byId = (id) => document.getElementById(id);

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  Object.assign(element, attributes);
  return element;
}

// Names of a schema's types: "string", "array of integer", "ChatBody or null".
function typeOf(schema) {
  if (!schema || Object.keys(schema).length === 0) return "any";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return "array of " + typeOf(schema.items);
  return Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type || "any";
}

function resolved(schema, told) {
  return schema && schema.$ref ? told.components.schemas[typeOf(schema)] : schema;
}

function refsOf(schema, found = new Set()) {
  if (schema && typeof schema === "object") {
    if (schema.$ref) found.add(schema.$ref);
    Object.values(schema).forEach((inner) => refsOf(inner, found));
  }
  return found;
}

function fieldTable(schema) {
  const table = make("table");
  const head = table.insertRow();
  ["field", "type", "default"].forEach((title) => head.append(make("th", title)));
  const required = new Set(schema.required || []);
  for (const [name, field] of Object.entries(schema.properties || {})) {
    const row = table.insertRow();
    row.insertCell().append(make("code", name));
    row.insertCell().textContent = typeOf(field) + (field.description ? ": " + field.description : "");
    row.insertCell().textContent = required.has(name) ? "required" : JSON.stringify(field.default ?? null);
  }
  return table;
}

// The tables of a body: its own, then those of the objects that it holds.
function schemaPart(schema, told) {
  const part = make("div");
  const own = resolved(schema, told);
  if (own.description) part.append(make("p", own.description));
  part.append(fieldTable(own));
  const seen = new Set();
  const waiting = [...refsOf(own)];
  for (let ref = waiting.shift(); ref; ref = waiting.shift()) {
    const inner = resolved({ $ref: ref }, told);
    if (seen.has(ref) || !inner || !inner.properties) continue;
    seen.add(ref);
    waiting.push(...refsOf(inner));
    part.append(make("h4", typeOf({ $ref: ref })));
    if (inner.description) part.append(make("p", inner.description));
    part.append(fieldTable(inner));
  }
  return part;
}

function quoted(text) {
  return "'" + text.replaceAll("'", "'\\''") + "'";
}

function curlOf(method, url, body) {
  const key = byId("key").value ? " -H 'Authorization: Bearer …'" : "";
  const data = body === null ? "" : " -H 'Content-Type: application/json' -d " + quoted(body);
  return `curl -N -X ${method} ${quoted(url)}${key}${data}`;
}

async function send(method, url, body, output) {
  const headers = byId("key").value ? { Authorization: "Bearer " + byId("key").value } : {};
  if (body !== null) headers["Content-Type"] = "application/json";
  output.textContent = "waiting";
  const started = performance.now();
  try {
    const answer = await fetch(url, { method, headers, body: body === null ? undefined : body });
    const told = `${answer.status} ${answer.statusText}, request ${answer.headers.get("x-request-id")}`;
    const decoder = new TextDecoder();
    let text = "";
    if (answer.body) {
      const reader = answer.body.getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        text += decoder.decode(piece.value, { stream: true });
        output.textContent = told + "\n\n" + text;
      }
    }
    try {
      text = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // An event stream or plain text stays as it is.
    }
    output.textContent = `${told}, ${Math.round(performance.now() - started)} ms\n\n${text}`;
  } catch (error) {
    output.textContent = "no answer: " + error.message;
  }
}

function fill(box, method, path, operation, told) {
  const part = make("div");
  const names = (operation.parameters || []).map((parameter) => parameter.name);
  const inputs = names.map((name) => make("input", "", { placeholder: name, ariaLabel: name }));
  part.append(...inputs);
  const content = operation.requestBody && operation.requestBody.content["application/json"];
  let area = null;
  if (content) {
    area = make("textarea", "", { ariaLabel: "body", spellcheck: false });
    area.value = JSON.stringify(content.example || {}, null, 2);
    part.append(area);
  }
  const output = make("pre", "", { hidden: true });
  const shell = make("code");
  const url = () => names.reduce(
    (done, name, i) => done.replace(`{${name}}`, encodeURIComponent(inputs[i].value)),
    new URL(path.slice(1) || ".", document.baseURI).href.replaceAll("%7B", "{").replaceAll("%7D", "}"),
  );
  const show = () => { shell.textContent = curlOf(method, url(), area && area.value); };
  const button = make("button", "Send", { type: "button" });
  button.onclick = () => { output.hidden = false; send(method, url(), area && area.value, output); };
  part.oninput = show;
  show();
  part.append(button, make("br"), shell, output);
  if (content) part.append(schemaPart(content.schema, told));
  box.append(part);
}

function routeBox(method, path, operation, told) {
  const box = make("details");
  box.dataset.text = `${method} ${path} ${operation.summary || ""}`.toLowerCase();
  const head = make("summary");
  head.append(make("b", method, { className: method.toLowerCase() }), make("code", path), operation.summary || "");
  box.append(head);
  box.addEventListener("toggle", () => fill(box, method, path, operation, told), { once: true });
  return box;
}

function filterRoutes() {
  const wanted = byId("filter").value.trim().toLowerCase();
  for (const box of byId("routes").children) box.hidden = !box.dataset.text.includes(wanted);
}

async function load() {
  const key = byId("key").value;
  const answer = await fetch("openapi.json", { headers: key ? { Authorization: "Bearer " + key } : {} });
  if (!answer.ok) {
    byId("told").textContent = answer.status === 401 ? "This server asks for its API key." : `Status ${answer.status}`;
    return;
  }
  const told = await answer.json();
  byId("version").textContent = told.info.version;
  const boxes = Object.entries(told.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => routeBox(method.toUpperCase(), path, operation, told)));
  byId("routes").replaceChildren(...boxes);
  byId("told").textContent = `${boxes.length} routes. A request is sent to this server, and only there.`;
  filterRoutes();
}

byId("filter").addEventListener("input", filterRoutes);
byId("key").addEventListener("change", load);
load();
