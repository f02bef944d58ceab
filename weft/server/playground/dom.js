// Makes page elements. Text is only ever set as text, so nothing that a model or a server says can become markup.

export const byId = (id) => document.getElementById(id);

/** An element. props: properties, attributes, and listeners (`onclick`); children: elements and texts; null is left out. */
export function make(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An element of SVG, as `make`. */
export function makeSvg(tag, props = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && !(node instanceof SVGElement)) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A button that says `text`. label: its name for screen readers, where the text is only a sign. */
export function makeButton(text, action, { label, ...props } = {}) {
  return make("button", { type: "button", onclick: action, "aria-label": label, title: label, ...props }, text);
}

/** An icon of a path, 24 by 24. */
export function makeIcon(path) {
  return makeSvg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, makeSvg("path", { d: path }));
}
