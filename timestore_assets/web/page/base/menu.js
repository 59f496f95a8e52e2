// A button that opens a small panel below it; Escape, a click elsewhere or `close` shuts it again.

import { el } from "./dom.js";

export function menu(label, { kind = "", name = "", opened = () => {} } = {}) {
  const text = el("span", { class: "menu-label" }, label);
  const summary = el("summary", { "aria-label": name || null }, text);
  const body = el("div", { class: "menu-body" });
  const root = el("details", { class: `menu ${kind}` }, summary, body);
  const close = () => (root.open = false);

  root.addEventListener("toggle", () => {
    if (!root.open) return;
    opened();
    body.classList.toggle("leftward", root.getBoundingClientRect().left + body.offsetWidth > innerWidth - 12);
  });
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !root.open) return;
    event.stopPropagation();
    close();
    summary.focus();
  });
  document.addEventListener("pointerdown", (event) => {
    if (root.open && !root.contains(event.target)) close();
  });
  root.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !root.contains(event.relatedTarget)) close();
  });

  return { root, body, close, open: () => (root.open = true), label: (words) => (text.textContent = words) };
}

// A menu of things to do.
export function actions(label, items, options) {
  const made = menu(label, options);
  const button = ([words, act]) =>
    el("button", { type: "button", class: "menu-item", onclick: () => [made.close(), act()] }, words);
  made.body.append(...items.map(button));
  return made;
}
