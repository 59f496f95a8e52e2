// Which time is looked at: a range by name, or from one moment to another.

import { el, show } from "../base/dom.js";
import { menu } from "../base/menu.js";
import { RANGES } from "./ranges.js";

// `chosen(part)`: gets what goes into the address.
export function timePicker(chosen) {
  const made = menu("…", { kind: "time-menu", name: "Time range" });
  const from = el("input", { type: "datetime-local", step: 1, id: "range-from" });
  const to = el("input", { type: "datetime-local", step: 1, id: "range-to" });
  const wrong = el("p", { class: "field-error", role: "alert" });
  let current = {};

  const pick = (part) => {
    made.close();
    chosen({ from: null, to: null, last: null, ...part });
  };
  const item = (key, label) =>
    el(
      "button",
      { type: "button", class: "menu-item", "data-range": key, onclick: () => pick({ last: key === "first" ? null : key }) },
      label,
    );
  const list = el(
    "div",
    { class: "menu-list" },
    RANGES.map((one) => item(one.key, one.label)),
    item("all", "All of it"),
  );
  const form = el(
    "form",
    { class: "menu-form", onsubmit: (event) => [event.preventDefault(), apply()] },
    el("label", { for: "range-from" }, "From (UTC)"),
    from,
    el("label", { for: "range-to" }, "To, not included"),
    to,
    wrong,
    el("button", { type: "submit", class: "primary" }, "Show this range"),
  );
  made.body.append(list, form);

  function apply() {
    const [start, end] = [moment(from.value), moment(to.value)];
    if (start !== null && end !== null && end > start) return pick({ from: start, to: end });
    show(wrong, start === null || end === null ? "Give both moments." : "It ends before it begins.");
    return undefined;
  }

  function load(found, last) {
    current = found;
    made.label(found.note ? `${found.label} ${found.note}` : found.label);
    [from.value, to.value] = [typed(found.from), typed(found.to)];
    show(wrong);
    for (const one of list.children) one.setAttribute("aria-pressed", String(one.dataset.range === last));
  }

  return { root: made.root, load, current: () => current };
}

const typed = (ms) => (ms === null || !Number.isFinite(ms) ? "" : new Date(ms).toISOString().slice(0, 19));

function moment(text) {
  const found = Date.parse(`${text}Z`);
  return Number.isFinite(found) ? found : null;
}
