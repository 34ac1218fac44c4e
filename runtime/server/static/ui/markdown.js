// Markdown as models write it, to elements. Text only ever becomes text nodes: nothing in it can be markup or script.

export function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const INLINE = /(`+)(.+?)\1|\*\*(.+?)\*\*|\*(\S(?:.*?\S)?)\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/;

function addInline(parent, text) {
  for (let found = INLINE.exec(text); found; found = INLINE.exec(text)) {
    parent.append(text.slice(0, found.index));
    if (found[2] !== undefined) parent.append(make("code", found[2]));
    else if (found[3] !== undefined) addInline(parent.appendChild(make("strong")), found[3]);
    else if (found[4] !== undefined) addInline(parent.appendChild(make("em")), found[4]);
    else parent.append(make("a", found[5], { href: found[6], rel: "noopener noreferrer", target: "_blank" }));
    text = text.slice(found.index + found[0].length);
  }
  parent.append(text);
}

function codeBlock(lines) {
  const box = make("div");
  const copy = make("button", "Copy", { type: "button" });
  copy.onclick = () => navigator.clipboard?.writeText(lines.join("\n"));
  box.append(make("pre", lines.join("\n")), copy);
  return box;
}

// The elements of a text; an unfinished code block is one to the end.
export function markdown(text) {
  const parts = document.createDocumentFragment();
  const lines = text.split("\n");
  let list = null;
  let paragraph = null;
  for (let i = 0; i < lines.length; i += 1) {
    const line = lines[i];
    const fence = /^\s*(```+|~~~+)/.exec(line);
    const heading = /^(#{1,6})\s+(.*)/.exec(line);
    const item = /^\s*(?:([-*+])|\d+[.)])\s+(.*)/.exec(line);
    if (fence) {
      const end = lines.findIndex((other, j) => j > i && other.trim().startsWith(fence[1]));
      parts.append(codeBlock(lines.slice(i + 1, end < 0 ? undefined : end)));
      i = end < 0 ? lines.length : end;
    } else if (heading) {
      addInline(parts.appendChild(make(`h${Math.min(6, heading[1].length + 2)}`)), heading[2]);
    } else if (item) {
      const tag = item[1] ? "UL" : "OL";
      if (!list || list.tagName !== tag) list = parts.appendChild(make(tag));
      addInline(list.appendChild(make("li")), item[2]);
      paragraph = null;
      continue;
    } else if (line.trim()) {
      if (paragraph) paragraph.append(make("br"));
      else paragraph = parts.appendChild(make("p"));
      addInline(paragraph, line);
      list = null;
      continue;
    }
    list = line.trim() ? null : list;
    paragraph = null;
  }
  return parts;
}
