// A bar for each category, lying, so that long names can be read on a narrow screen too.

import { el } from "../base/dom.js";
import { figure } from "../base/format.js";

// `items`: [{name, value}]. The line at zero is where bars begin, to either side.
export function drawBars(stage, items, { unit }) {
  const values = items.map((one) => one.value).filter((value) => value !== null && Number.isFinite(value));
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const span = high - low || 1;
  const fine = Math.max(...values.map(Math.abs), 0) / 1000;
  const zero = (-low / span) * 100;
  const made = items.map(({ name, value }) => {
    const text =
      value === null ? "null" : `${whole(value) ? value.toLocaleString("en") : figure(value, fine)}${unit ? ` ${unit}` : ""}`;
    const bar = el("span", { class: `bar-mark ${value < 0 ? "below" : ""}` });
    if (value !== null && Number.isFinite(value)) {
      const width = (Math.abs(value) / span) * 100;
      bar.style.left = `${value < 0 ? zero - width : zero}%`;
      bar.style.width = `${width}%`;
    } else bar.hidden = true;
    return el(
      "li",
      { class: "bar-row" },
      el("span", { class: "bar-name", title: name }, name),
      el("span", { class: "bar-room" }, bar),
      el("span", { class: "bar-value" }, text),
    );
  });
  stage.replaceChildren(el("ul", { class: "bars", "aria-hidden": "true" }, made));
}

const whole = (value) => Number.isInteger(value) && Math.abs(value) < 1e15;
