// Conversations, kept in this browser. Messages form a tree: a regenerated answer or an edited question is a sibling.

const opened = new Promise((done, failed) => {
  const asked = indexedDB.open("radixlang", 1);
  asked.onupgradeneeded = () => asked.result.createObjectStore("conversations", { keyPath: "id" });
  asked.onsuccess = () => done(asked.result);
  asked.onerror = () => failed(asked.error);
});

async function within(mode, work) {
  const shelf = (await opened).transaction("conversations", mode).objectStore("conversations");
  return new Promise((done, failed) => {
    const asked = work(shelf);
    asked.onsuccess = () => done(asked.result);
    asked.onerror = () => failed(asked.error);
  });
}

export class Conversation {
  constructor(kept = { id: crypto.getRandomValues(new Uint32Array(2)).join("-"), changed: Date.now() }) {
    Object.assign(this, { title: "New conversation", messages: [], leaf: null }, kept);
  }

  static async all() {
    const kept = await within("readonly", (shelf) => shelf.getAll());
    return kept.map((one) => new Conversation(one)).sort((a, b) => b.changed - a.changed);
  }

  save() {
    this.changed = Date.now();
    return within("readwrite", (shelf) => shelf.put({ ...this }));
  }

  drop() {
    return within("readwrite", (shelf) => shelf.delete(this.id));
  }

  // From the first message to the one that is shown last.
  path() {
    const found = [];
    for (let at = this.leaf; at !== null; at = this.messages[at].parent) found.unshift(this.messages[at]);
    return found;
  }

  add(parent, role, fields) {
    const message = { index: this.messages.length, parent, role, text: "", ...fields };
    this.messages.push(message);
    this.leaf = message.index;
    if (role === "user" && parent === null) this.title = message.text.slice(0, 60);
    return message;
  }

  siblings(message) {
    return this.messages.filter((other) => other.parent === message.parent);
  }

  // Shows `message`, and below it what was added last.
  show(message) {
    this.leaf = message.index;
    for (let below = message; below; below = this.messages.findLast((other) => other.parent === below.index)) {
      this.leaf = below.index;
    }
  }
}
