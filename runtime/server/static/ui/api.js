// Calls of the server that this page comes from, with its key, and its streams.

export class ApiError extends Error {
  constructor(status, told) {
    super(told.message || `status ${status}`);
    this.status = status;
    this.param = told.param || null;
    this.code = told.code || null;
  }
}

const keeper = { key: sessionStorage.getItem("radixlang-key") || "" };

// Asks the person for the key; false: there is none.
export async function askKey() {
  const dialog = document.getElementById("ask-key");
  const field = document.getElementById("key-text");
  field.value = keeper.key;
  if (!dialog.open) dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue !== "ok") return false;
  keeper.key = field.value;
  sessionStorage.setItem("radixlang-key", keeper.key);
  return true;
}

async function answerOf(path, { body, signal } = {}) {
  const headers = keeper.key ? { Authorization: "Bearer " + keeper.key } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  return fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
}

async function checked(path, options) {
  let answer = await answerOf(path, options);
  while (answer.status === 401 && (await askKey())) answer = await answerOf(path, options);
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new ApiError(answer.status, told.error || {});
}

export async function call(path, options) {
  return (await checked(path, options)).json();
}

// The JSON of each server-sent event. An error that comes within the stream is thrown.
export async function* events(path, body, signal) {
  const answer = await checked(path, { body, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ") || part === "data: [DONE]") continue;
      const told = JSON.parse(part.slice(6));
      if (told.error) throw new ApiError(answer.status, told.error);
      yield told;
    }
  }
}
