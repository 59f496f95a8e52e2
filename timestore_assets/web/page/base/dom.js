// Elements from values. Text only ever becomes a text node, so what a dataset holds can't become markup.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// A funnel, which stands for filtering.
export function funnel() {
  const shape = svg("path", {
    d: "M1 2h12L8.5 7.5V12L5.5 13V7.5Z",
    fill: "none",
    stroke: "currentColor",
    "stroke-width": 1.3,
    "stroke-linejoin": "round",
  });
  return svg("svg", { viewBox: "0 0 14 14", width: 13, height: 13, "aria-hidden": "true" }, shape);
}

export function show(parent, ...children) {
  parent.replaceChildren(...children.flat().filter(Boolean));
}

export function note(words, kind = "quiet") {
  return el("p", { class: `note ${kind}`, role: kind === "error" ? "alert" : "status" }, words);
}
