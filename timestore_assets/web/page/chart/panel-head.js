// What a chart shows of the dataset: its columns, and which figure of them.

import { el, show } from "../base/dom.js";
import { FIGURES, labelOf } from "./figures.js";

export class PanelHead {
  // `number`: of the panel, from 0. `changed(panel)`: {fn, columns} that the reader wants now, null to remove it.
  constructor({ number, changed, redraw }) {
    Object.assign(this, { changed, panel: { fn: "avg", columns: [] } });
    const id = (name) => (number ? `${name}-${number}` : name);
    this.column = el("select", { id: id("column"), onchange: () => this.replace(this.column.value) });
    this.fn = el("select", { id: id("figure"), onchange: () => changed({ ...this.panel, fn: this.fn.value }) });
    this.more = el("select", {
      id: id("more"),
      "aria-label": "Add a column to this chart",
      onchange: () => this.add(this.more.value),
    });
    this.others = el("ul", { class: "chips", "aria-label": "Further columns of this chart" });
    this.band = el("input", { type: "checkbox", id: id("band"), checked: true, onchange: redraw });
    this.bandField = el("label", { class: "check" }, this.band, "min – max");
    this.away = el(
      "button",
      { type: "button", class: "plain", "aria-label": "Remove this panel", onclick: () => changed(null) },
      "× Remove",
    );
    this.root = el(
      "div",
      { class: "controls" },
      el("label", { class: "field" }, el("span", {}, "Column"), this.column),
      this.others,
      this.more,
      el("label", { class: "field" }, el("span", {}, "as"), this.fn),
      this.bandField,
      el("span", { class: "grow" }),
      this.away,
    );
  }

  replace(name) {
    const rest = this.panel.columns.slice(1).filter((one) => one !== name);
    this.changed({ ...this.panel, columns: [name, ...rest] });
  }

  add(name) {
    this.changed({ ...this.panel, columns: [...this.panel.columns, name] });
  }

  // `columns`: all columns of numbers.
  load(panel, columns, { removable }) {
    this.panel = panel;
    const label = (one) => (one.unit ? `${one.name} (${one.unit})` : one.name);
    const option = (one) => el("option", { value: one.name }, label(one));
    show(this.column, columns.map(option));
    this.column.value = panel.columns[0];
    const known = FIGURES.some((one) => one.fn === panel.fn) ? FIGURES : [...FIGURES, { fn: panel.fn, label: labelOf(panel.fn) }];
    show(
      this.fn,
      known.map((one) => el("option", { value: one.fn }, one.label)),
    );
    this.fn.value = panel.fn;
    const free = columns.filter((one) => !panel.columns.includes(one.name));
    show(this.more, [el("option", { value: "" }, "+ column"), ...free.map(option)]);
    this.more.hidden = !free.length;
    show(
      this.others,
      panel.columns.slice(1).map((name) => this.chip(name)),
    );
    this.bandField.hidden = panel.fn !== "avg";
    this.away.hidden = !removable;
  }

  chip(name) {
    const without = () => this.changed({ ...this.panel, columns: this.panel.columns.filter((one) => one !== name) });
    return el(
      "li",
      { class: "chip" },
      name,
      el("button", { type: "button", "aria-label": `Remove ${name}`, onclick: without }, "×"),
    );
  }
}
