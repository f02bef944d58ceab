// Renders a model's answer as page elements: code blocks, lists, headings, bold, inline code; the rest is text.
// Elements are filled by textContent, so nothing in an answer can become HTML.

/** Replace the content of `target` by `text`, rendered. */
export function renderMarkdown(target, text) {
  target.replaceChildren(...blocks(text));
}

function* blocks(text) {
  const parts = text.split(/^```/m); // every second part is inside a fence; an open fence runs to the end
  for (const [i, part] of parts.entries()) {
    if (i % 2) yield codeBlock(part);
    else yield* prose(part);
  }
}

function codeBlock(part) {
  const end = part.indexOf("\n");
  const code = element("code", end < 0 ? "" : part.slice(end + 1).replace(/\n$/, ""));
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.append(code);
  return pre;
}

function* prose(text) {
  for (const chunk of text.split(/\n{2,}/)) {
    const block = chunk.replace(/^\n+|\n+$/g, "");
    if (!block.trim()) continue;
    const lines = block.split("\n");
    const heading = /^(#{1,6}) +(.*)$/.exec(lines[0]);
    if (heading && lines.length === 1) yield inline(heading[1].length < 3 ? "h3" : "h4", heading[2]);
    else if (lines.every((line) => /^\s*[-*] +/.test(line))) yield list("ul", lines, /^\s*[-*] +/);
    else if (lines.every((line) => /^\s*\d+[.)] +/.test(line))) yield list("ol", lines, /^\s*\d+[.)] +/);
    else yield inline("p", block);
  }
}

function list(tag, lines, marker) {
  const node = document.createElement(tag);
  node.append(...lines.map((line) => inline("li", line.replace(marker, ""))));
  return node;
}

function inline(tag, text) {
  const node = document.createElement(tag);
  for (const piece of text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/)) {
    if (/^`[^`]+`$/.test(piece)) node.append(element("code", piece.slice(1, -1)));
    else if (/^\*\*[^*]+\*\*$/.test(piece)) node.append(element("strong", piece.slice(2, -2)));
    else node.append(piece);
  }
  return node;
}

function element(tag, text) {
  const node = document.createElement(tag);
  node.textContent = text;
  return node;
}
