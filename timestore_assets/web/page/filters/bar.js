// The conditions that what is shown fulfils, each with a way to take it back, and a form for another one.

import { datasetPath, post } from "../base/api.js";
import { el, show } from "../base/dom.js";
import { menu } from "../base/menu.js";
import { OPERATORS, inWords, operatorsOf } from "./conditions.js";

const SUGGESTED = 200;

// `dataset`: with its columns. `changed(filters)`: the reader has others now.
export function filterBar(dataset, changed) {
  const chips = el("ul", { class: "chips", "aria-label": "Filters" });
  const made = menu("+ Filter", { kind: "filter-menu", opened: () => column.focus() });
  const column = el("select", { id: "filter-column", onchange: () => columnChosen() });
  const operator = el("select", { id: "filter-op", onchange: () => operatorChosen() });
  const value = el("input", { id: "filter-value", list: "filter-values", autocomplete: "off", spellcheck: "false" });
  const values = el("datalist", { id: "filter-values" });
  const hint = el("p", { class: "hint" });
  const valueLabel = el("label", { for: "filter-value" }, "Value");
  let filters = [];

  show(
    column,
    dataset.columns.map((one) => el("option", { value: one.name }, one.name)),
  );
  made.body.append(
    el(
      "form",
      { class: "menu-form", onsubmit: (event) => [event.preventDefault(), add()] },
      el("label", { for: "filter-column" }, "Column"),
      column,
      el("label", { for: "filter-op" }, "Condition"),
      operator,
      valueLabel,
      value,
      values,
      hint,
      el("button", { type: "submit", class: "primary" }, "Add filter"),
    ),
  );
  column.value = (dataset.partitionBy[0] ?? dataset.columns.find((one) => one.name !== dataset.time)?.name) || dataset.time;

  const type = () => dataset.columns.find((one) => one.name === column.value)?.type ?? "string";

  function columnChosen() {
    show(
      operator,
      operatorsOf(type()).map((op) => el("option", { value: op }, OPERATORS[op].words)),
    );
    value.value = "";
    operatorChosen();
    suggest(column.value);
  }

  function operatorChosen() {
    const { none, many } = OPERATORS[operator.value];
    [value.hidden, valueLabel.hidden] = [none, none];
    value.required = !none;
    hint.textContent = !many
      ? ""
      : operator.value === "between"
        ? "Lowest and highest, with a comma between."
        : "With commas between.";
    if (/^timestamp/.test(type()) && !none) hint.textContent = "Like 2024-01-31T06:00:00Z, in UTC.";
  }

  // The values that a column of text has most often.
  async function suggest(name) {
    show(values);
    if (type() !== "string" || !dataset.rows) return;
    const downsample = { aggregations: [{ fn: "count", alias: "__n" }], groupBy: [name] };
    const answer = await post(datasetPath(dataset.name, "/query"), { downsample, limit: 5000 }).catch(() => null);
    if (!answer || column.value !== name) return;
    const sorted = answer.rows.filter((row) => row[name] !== null).sort((a, b) => b.__n - a.__n);
    show(
      values,
      sorted.slice(0, SUGGESTED).map((row) => el("option", { value: row[name] })),
    );
  }

  function add() {
    const { none, many } = OPERATORS[operator.value];
    const given = none ? [] : many ? value.value.split(",").map((one) => one.trim()) : [value.value];
    made.close();
    changed([...filters, { column: column.value, op: operator.value, values: given }]);
  }

  function load(found) {
    filters = found;
    const chip = (one) =>
      el(
        "li",
        { class: "chip" },
        inWords(one),
        el(
          "button",
          {
            type: "button",
            "aria-label": `Remove filter ${inWords(one)}`,
            onclick: () => changed(filters.filter((other) => other !== one)),
          },
          "×",
        ),
      );
    show(chips, filters.map(chip));
  }

  // Opens the form for a column.
  function offer(name) {
    column.value = name;
    columnChosen();
    made.open();
    operator.focus();
  }

  made.root.addEventListener("toggle", () => made.root.open && !operator.options.length && columnChosen());
  return { root: el("div", { class: "filters" }, chips, made.root), load, offer };
}
