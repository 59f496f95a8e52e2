// The one small box that says what is under the pointer or the keyboard's focus.

import { el } from "./dom.js";

const AWAY = 14;

export function tipOf(box) {
  function show(left, top, title, lines) {
    const rows = lines.map((line) =>
      el(
        "div",
        { class: "tip-row" },
        el("span", { class: `swatch ${line.kind ?? ""}` }),
        el("span", { class: "tip-name" }, line.name),
        el("span", { class: "tip-value" }, line.value),
        el("span", { class: "tip-span" }, line.span ?? ""),
      ),
    );
    box.replaceChildren(el("div", { class: "tip-title" }, title), ...rows);
    box.hidden = false;
    const room = document.documentElement.clientWidth;
    const { width, height } = box.getBoundingClientRect();
    const right = left + AWAY + width <= room - 4;
    const place = right ? left + AWAY : Math.max(4, left - AWAY - width);
    box.style.left = `${place + scrollX}px`;
    box.style.top = `${Math.max(4, Math.min(top, innerHeight - height - 4)) + scrollY}px`;
  }
  return { show, hide: () => (box.hidden = true) };
}
