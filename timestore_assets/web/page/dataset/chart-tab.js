// The chart of a dataset: one panel or several over the same range, told apart by the same column.

import { el, note as sentence, show } from "../base/dom.js";
import { recall, remember } from "../base/memory.js";
import { joined } from "../board/panels.js";
import { unitsOf } from "../chart/figures.js";
import { CHOICES, grainNamed } from "../chart/grain.js";
import { ChartPanel } from "../chart/panel.js";
import { asked } from "../filters/conditions.js";
import { go, note, read } from "../frame/route.js";
import { groupColumns, drawnColumns, panelsFor, wholeRange } from "./choices.js";

const MOST_PANELS = 6;
const HELP = "Drag to zoom in, double-click to zoom out. With the keyboard: ← → read values, + zooms in, − out.";

export class ChartTab {
  constructor(view) {
    Object.assign(this, { view, panels: [], asked: null, zooms: 0 });
    this.columns = drawnColumns(view.dataset);
    this.by = el("select", { id: "by", onchange: () => this.choose({ by: this.by.value }) });
    this.every = el("select", { id: "every", onchange: () => this.choose({ every: this.every.value || null }) });
    this.more = el("button", { type: "button", onclick: () => this.addPanel() }, "+ Panel");
    const button = (text, onclick) => el("button", { type: "button", onclick }, text);
    this.controls = el(
      "div",
      { class: "controls shared" },
      el("label", { class: "field" }, el("span", {}, "Series by"), this.by),
      el("label", { class: "field" }, el("span", {}, "Every"), this.every),
      el("span", { class: "grow" }),
      this.more,
      button("Add to board", () => this.toBoard()),
      button("Zoom out", () => this.zoomOut()),
      button("Whole range", () => this.choose({ from: null, to: null, last: "all" })),
    );
    this.list = el("div", { class: "panels" });
    this.root = el(
      "section",
      { class: "card", "aria-label": "Chart" },
      this.controls,
      this.list,
      el("p", { class: "keys", id: "chart-keys" }, HELP),
    );
    const option = (value, label) => el("option", { value }, label);
    show(this.by, [option("", "no column"), ...groupColumns(view.dataset).map((name) => option(name, name))]);
    show(this.every, [option("", "as fits"), ...CHOICES.map((name) => option(name, grainNamed(name).label))]);
  }

  // Shows what the address says, as far as it says it. `changed`: whether there are other rows than before.
  look({ changed = true } = {}) {
    const { dataset, range } = this.view;
    if (range.from === null) return this.without("There is nothing to draw yet: no rows have landed.");
    const route = read();
    const groups = groupColumns(dataset);
    const kept = recall(`chart.${dataset.name}`);
    const wanted = panelsFor(dataset, this.columns, route.panels, kept?.panels);
    const usual = kept?.by ?? dataset.partitionBy[0] ?? "";
    const by = groups.includes(route.by ?? usual) ? (route.by ?? usual) : "";
    const { from, to } = range;
    const question = JSON.stringify({ from, to, wanted, by, every: route.every, filters: route.filters });
    if (question === this.asked && !changed) return undefined;
    this.asked = question;
    // what is remembered goes into the address too, so that it shows others the same
    if (kept && !route.panels.length) {
      note({ ...route, panels: wanted, by });
      this.view.showLinks(read());
    }
    [this.by.value, this.every.value] = [by, grainNamed(route.every) ? route.every : ""];
    this.root.classList.remove("bare");
    this.fit(wanted);
    const shared = { dataset: dataset.name, time: dataset.time, by, from, to, every: route.every };
    const filters = asked(route.filters, dataset.columns);
    return Promise.all(wanted.map((panel, i) => this.draw(this.panels[i], panel, { ...shared, filters }, wanted.length)));
  }

  draw(made, panel, shared, number) {
    made.head.load(panel, this.columns, { removable: number > 1 });
    return made.load({ ...shared, ...panel, ...unitsOf(panel, this.columns), partitions: this.view.partitions });
  }

  // As many panels as are wanted; those that are there stay.
  fit(wanted) {
    while (this.panels.length > wanted.length) this.panels.pop().close();
    while (this.panels.length < wanted.length) {
      const number = this.panels.length;
      const changed = (panel) => this.panelChanged(number, panel);
      const zoomed = (part) => this.choose({ ...part, last: null }, 1);
      this.panels.push(new ChartPanel({ number, tip: this.view.tip, changed, zoomed, out: () => this.zoomOut() }));
    }
    if (this.list.children.length !== wanted.length || this.list.querySelector(".note.alone")) {
      show(
        this.list,
        this.panels.map((one) => one.root),
      );
    }
    this.more.disabled = wanted.length >= MOST_PANELS;
    this.shown = wanted;
  }

  panelChanged(number, panel) {
    const panels = this.shown.map((one, i) => (i === number ? panel : one)).filter(Boolean);
    this.choose({ panels });
  }

  addPanel() {
    const used = new Set(this.shown.flatMap((one) => one.columns));
    const next = this.columns.find((one) => !used.has(one.name)) ?? this.columns[0];
    this.choose({ panels: [...this.shown, { fn: "avg", columns: [next.name] }] });
  }

  // These panels beside those of the board that was looked at last, over the range that is shown here.
  toBoard() {
    const { from, to, last, every } = read();
    const panels = this.shown.map((one) => ({ ...one, dataset: this.view.dataset.name, by: this.by.value }));
    return go({ view: "board", from, to, last, every, panels: joined(recall("board") ?? [], panels) });
  }

  // What the reader chose goes into the address, and what is drawn into the memory of this browser.
  choose(part, zooms = 0) {
    this.zooms += zooms;
    const route = { ...read(), ...part };
    if (part.panels || part.by !== undefined) {
      remember(`chart.${this.view.dataset.name}`, { panels: part.panels ?? this.shown, by: part.by ?? this.by.value });
    }
    return go(route);
  }

  // Back to where a zoom began; without one, three times as much around the middle.
  zoomOut() {
    if (this.zooms > 0) {
      this.zooms -= 1;
      return history.back();
    }
    const { from, to } = this.view.range;
    if (from === null) return undefined;
    const [oldest, newest] = wholeRange(this.view.partitions);
    const [start, end] = [Math.max(oldest, from - (to - from)), Math.min(newest, to + (to - from))];
    return start >= from && end <= to ? undefined : this.choose({ from: start, to: end, last: null });
  }

  // Instead of a chart, why there is none.
  without(text) {
    for (const one of this.panels.splice(0)) one.close();
    this.asked = null;
    this.root.classList.add("bare");
    show(this.list, el("div", { id: "chart", "data-state": "empty" }, el("div", { class: "note alone" }, sentence(text))));
  }

  close() {
    for (const one of this.panels) one.close();
  }
}
