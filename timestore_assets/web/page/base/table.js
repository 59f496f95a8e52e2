// Tables: of few facts, which become lines on a narrow screen, and of rows, which scroll sideways.

import { el } from "./dom.js";

// `heads`: [label, class] of each column. `rows`: lists of cells.
export function factTable(caption, heads, rows) {
  const head = heads.map(([label, kind]) => el("th", { scope: "col", class: kind ?? null }, label));
  const cell = (value, i) => el("td", { class: heads[i][1] ?? null, "data-label": heads[i][0] }, value);
  return el(
    "table",
    { class: "facts-table" },
    el("caption", { class: "hidden" }, caption),
    el("thead", {}, el("tr", {}, head)),
    el(
      "tbody",
      {},
      rows.map((cells) => el("tr", {}, cells.map(cell))),
    ),
  );
}

const NUMERIC = /^(u?int|u?tinyint|u?smallint|u?bigint|hugeint|float|double|decimal)/i;
const LONGEST = 400;

export const isNumeric = (type) => NUMERIC.test(type);

// `columns`: [{name, type, unit}]. `head(column)`: more to stand in a column's head.
export function rowTable(caption, columns, rows, head = () => null) {
  const kinds = columns.map((one) => (isNumeric(one.type) ? "number" : null));
  const heads = columns.map((one, i) =>
    el(
      "th",
      { scope: "col", class: kinds[i], "aria-sort": one.sorted ?? null },
      el("span", { class: "th-line" }, el("span", { class: "th-name" }, one.name), head(one)),
      el("span", { class: "th-type" }, one.unit ? `${one.type}, ${one.unit}` : one.type),
    ),
  );
  const body = document.createElement("tbody");
  for (const row of rows) {
    const line = document.createElement("tr");
    columns.forEach((one, i) => line.append(cell(row[one.name], one.type, kinds[i])));
    body.append(line);
  }
  return el(
    "div",
    { class: "scroller", tabindex: 0, role: "region", "aria-label": caption },
    el("table", { class: "row-table" }, el("caption", { class: "hidden" }, caption), el("thead", {}, el("tr", {}, heads)), body),
  );
}

function cell(value, type, kind) {
  const made = document.createElement("td");
  if (kind) made.className = kind;
  if (value === null || value === undefined) {
    made.append(el("span", { class: "null" }, "null"));
    return made;
  }
  const text = written(value, type);
  made.textContent = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  if (text.length > 60) made.title = text;
  return made;
}

// A value as it is, to its last digit.
export function written(value, type) {
  if (/^timestamp/i.test(type) && typeof value === "string") return value.replace("T", " ").replace(/Z$/, "");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
