// Partitions as a calendar of states: solid is built, a ring takes rows, stripes have newer rows than their build.

import { el, note, show } from "../base/dom.js";
import { bytes, count, plural } from "../base/format.js";
import { layoutOf } from "./layouts.js";

const MEANINGS = {
  open: "takes rows, not built yet",
  sealed: "built and complete",
  stale: "has newer rows than its build",
  expired: "past its retention",
};

export class CalendarPanel {
  // `chosen(partition)`: a window was clicked. `tip`: shows lines of text at a place.
  constructor({ tip, chosen }) {
    Object.assign(this, { tip, chosen, partitions: [], layout: layoutOf("day"), page: 0, from: null, to: null });
    this.legend = el("ul", { class: "legend", "aria-label": "States" });
    this.grid = el("div", { class: "calendar", id: "calendar", role: "group", "aria-label": "Partitions" });
    this.older = el("button", { type: "button", onclick: () => this.turn(1) }, "← Older");
    this.newer = el("button", { type: "button", onclick: () => this.turn(-1) }, "Newer →");
    this.where = el("span", { class: "quiet" });
    this.pager = el("div", { class: "pager" }, this.older, this.where, this.newer);
    const head = el("div", { class: "card-head" }, el("h2", { id: "calendar-title" }, "Partitions"), this.legend);
    this.root = el("section", { class: "card", "aria-labelledby": "calendar-title" }, head, this.grid, this.pager);
    this.grid.addEventListener("keydown", (event) => this.pressed(event));
  }

  cells() {
    return [...this.grid.querySelectorAll(".cell")];
  }

  // One cell takes part in the order of the tab key; arrows move between them.
  pressed(event) {
    const cells = this.cells();
    const at = cells.indexOf(document.activeElement);
    const { columns } = this.layout;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -at, End: cells.length - 1 - at };
    if (at < 0 || !(event.key in steps)) return;
    event.preventDefault();
    const next = cells[Math.max(0, Math.min(cells.length - 1, at + steps[event.key]))];
    for (const cell of cells) cell.tabIndex = cell === next ? 0 : -1;
    next.focus();
  }

  turn(by) {
    this.page += by;
    this.redraw();
  }

  load(partitions, window) {
    if (partitions.length !== this.partitions.length) this.page = 0;
    Object.assign(this, { partitions, layout: layoutOf(window) });
    const counts = Map.groupBy(partitions, (one) => one.state);
    const states = Object.keys(MEANINGS).filter((state) => counts.has(state) || state !== "expired");
    const item = (state) =>
      el(
        "li",
        { title: MEANINGS[state] },
        el("span", { class: `swatch state ${state}` }),
        `${count(counts.get(state)?.length ?? 0)} ${state}`,
      );
    show(this.legend, states.map(item));
    this.redraw();
  }

  redraw() {
    const { layout } = this;
    if (!this.partitions.length) {
      this.pager.hidden = true;
      return show(this.grid, note("There are no partitions yet: nothing has landed."));
    }
    const focused = document.activeElement?.dataset?.key;
    const blocks = Map.groupBy(this.partitions, (one) => layout.block(one.from));
    const visible = this.turned([...blocks.keys()].sort((a, b) => b - a));
    this.grid.classList.toggle("wide", Boolean(layout.wide));
    show(this.grid, [layout.marks ? scaleOf(layout) : null, ...visible.map((key) => this.block(key, blocks.get(key)))]);
    const cells = this.cells();
    const active = cells.find((one) => one.dataset.key === focused) ?? cells.at(-1);
    active.tabIndex = 0;
    if (active.dataset.key === focused) active.focus();
    return this.mark(this.from, this.to);
  }

  // The blocks of the current page, oldest first. `keys`: all blocks, newest first.
  turned(keys) {
    const { perPage, title } = this.layout;
    const pages = Math.ceil(keys.length / perPage);
    this.page = Math.max(0, Math.min(pages - 1, this.page));
    const visible = keys.slice(this.page * perPage, (this.page + 1) * perPage).reverse();
    this.pager.hidden = pages < 2;
    [this.older.disabled, this.newer.disabled] = [this.page >= pages - 1, this.page <= 0];
    this.where.textContent = `${title(visible[0])} – ${title(visible.at(-1))}`;
    return visible;
  }

  block(key, partitions) {
    const { layout } = this;
    const below = layout.heads.length ? 1 : 0;
    const cells = partitions.map((one) => {
      const [row, column] = layout.place(one.from, key);
      return placed(this.cell(one), row + below, column);
    });
    const inner = el("div", { class: "block-grid", "data-columns": layout.columns }, layout.heads.map(heading), cells);
    return el("div", { class: "block" }, el("h3", {}, layout.title(key)), inner);
  }

  cell(one) {
    const describe = (event) => this.describe(one, event.target.getBoundingClientRect());
    return el("button", {
      type: "button",
      class: `cell state ${one.state}`,
      tabindex: -1,
      "aria-label": `${one.partition}, ${one.state}, ${plural(one.rows, "row")}`,
      "data-key": one.partition,
      "data-state": one.state,
      "data-rows": one.rows,
      onclick: () => this.chosen(one),
      onpointerenter: describe,
      onfocus: describe,
      onpointerleave: this.tip.hide,
      onblur: this.tip.hide,
    });
  }

  describe(one, box) {
    const unbuilt = one.deltas ? ` (${count(one.deltas)} not built)` : "";
    this.tip.show(box.right, box.top, one.partition, [
      { kind: `state ${one.state}`, name: one.state, value: plural(one.rows, "row") },
      { name: "size", value: bytes(one.bytes) },
      { name: "segments", value: `${count(one.segments)}${unbuilt}` },
    ]);
  }

  // Shows which partitions the chart is looking at, unless it is all of them.
  mark(from, to) {
    Object.assign(this, { from, to });
    const inside = new Set(this.partitions.filter((one) => one.from < to && one.to > from).map((one) => one.partition));
    for (const cell of this.cells()) {
      const within = inside.size < this.partitions.length && inside.has(cell.dataset.key);
      cell.classList.toggle("within", within);
      cell.setAttribute("aria-pressed", String(within));
    }
  }
}

const heading = (text, i) => placed(el("span", { class: "weekday", "aria-hidden": "true" }, text), 1, i + 1);

function scaleOf(layout) {
  return el(
    "div",
    { class: "block" },
    el("span", {}),
    el("div", { class: "block-grid", "data-columns": layout.columns }, layout.marks.map(heading)),
  );
}

function placed(element, row, column) {
  element.style.gridRow = String(row);
  element.style.gridColumn = String(column);
  return element;
}
