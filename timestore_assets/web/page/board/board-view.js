// A board: charts of several datasets over one range of time, all of it in the address.

import { words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { menu } from "../base/menu.js";
import { recall, remember } from "../base/memory.js";
import { CHOICES, grainNamed } from "../chart/grain.js";
import { drawnColumns, firstRange, preferredColumn, wholeRange } from "../dataset/choices.js";
import { resolved } from "../frame/ranges.js";
import { go, note as write, read } from "../frame/route.js";
import { timePicker } from "../frame/timepicker.js";
import { BoardPanel, BoardSource } from "./board-panel.js";
import { MOST_PANELS, usable, writePanel } from "./panels.js";

const EMPTY =
  "A board shows charts of several datasets over one range of time. Add a first panel; its address can be sent to somebody.";
const HELP =
  "Drag to zoom in, double-click to zoom out: all panels follow. With the keyboard: ← → read values, + zooms in, − out.";

export class BoardView {
  // `datasets()`: those that may be read.
  constructor({ datasets, tip }) {
    Object.assign(this, {
      datasets,
      tip,
      panels: [],
      sources: new Map(),
      range: { from: null, to: null },
      zooms: 0,
      closed: false,
    });
    this.picker = timePicker((part) => this.choose(part));
    this.every = el("select", { id: "every", onchange: () => this.choose({ every: this.every.value || null }) });
    const option = (value, label) => el("option", { value }, label);
    show(this.every, [option("", "as fits"), ...CHOICES.map((name) => option(name, grainNamed(name).label))]);
    this.adding = menu("+ Panel", { kind: "panel-menu", opened: () => this.offer() });
    this.dataset = el("select", { id: "panel-dataset", required: true, onchange: () => this.offerColumns() });
    this.column = el("select", { id: "panel-column", required: true });
    const form = el(
      "form",
      { class: "menu-form", onsubmit: (event) => [event.preventDefault(), this.add()] },
      el("label", { for: "panel-dataset" }, "Dataset"),
      this.dataset,
      el("label", { for: "panel-column" }, "Column"),
      this.column,
      el("button", { type: "submit", class: "primary" }, "Add panel"),
    );
    this.adding.body.append(form);
    this.link = el("button", { type: "button", onclick: () => this.copyLink() }, "Copy link");
    const every = el("label", { class: "field" }, el("span", {}, "Every"), this.every);
    this.shared = el("div", { class: "shared-choices" }, this.picker.root, every);
    this.room = el("span", { class: "grow" });
    const toolbar = el("div", { class: "toolbar" }, this.shared, this.room, this.adding.root, this.link);
    this.state = el("div", { id: "state" });
    this.list = el("div", { class: "board" });
    this.keys = el("p", { class: "keys", id: "chart-keys" }, HELP);
    const head = el("header", { class: "head" }, el("h1", {}, "Board"));
    this.parts = [el("a", { class: "back", href: "#/" }, "← All datasets"), head, toolbar, this.state, this.list, this.keys];
  }

  wanted() {
    const { panels } = read();
    return panels.length ? panels : (recall("board") ?? []);
  }

  find = (name) => this.datasets().find((one) => one.name === name) ?? null;

  // Asks what is new in the datasets of the board, and draws what has changed.
  async refresh() {
    const names = new Set(
      this.wanted()
        .map((one) => one.dataset)
        .filter(this.find),
    );
    for (const name of names) if (!this.sources.has(name)) this.sources.set(name, new BoardSource(name));
    await Promise.all([...names].map((name) => this.sources.get(name).refresh()));
    if (this.closed) return;
    show(this.state);
    this.draw();
  }

  // Shows what the address says.
  look() {
    return this.refresh().catch((error) => this.failed(error));
  }

  draw() {
    const route = read();
    const asked = this.wanted().slice(0, MOST_PANELS);
    const found = asked.map((one) => (this.find(one.dataset) ? usable(one, this.find(one.dataset)) : one));
    // what is remembered goes into the address too, so that it shows others the same
    if (!route.panels.length && found.length) write({ ...route, panels: found });
    this.range = resolved(route, this.extent(found));
    this.picker.load(this.range, route.last);
    this.every.value = grainNamed(route.every) ? route.every : "";
    for (const one of [this.shared, this.room, this.link, this.keys]) one.hidden = !found.length;
    this.adding.root.hidden = found.length >= MOST_PANELS;
    this.fit(found);
    const { from, to } = this.range;
    const seen = { from, to, every: route.every };
    this.panels.forEach((made, i) => made.chart && made.look(found[i], seen, this.sources.get(found[i].dataset)));
    this.shown = found;
  }

  // From the oldest row of any dataset to the newest; a first look is as short as the largest of them asks for.
  extent(panels) {
    const filled = [...new Set(panels.map((one) => one.dataset))]
      .map((name) => this.sources.get(name)?.partitions ?? [])
      .filter((partitions) => wholeRange(partitions)[0] !== null);
    if (!filled.length) return { whole: [null, null], first: [null, null] };
    const wholes = filled.map(wholeRange);
    const whole = [Math.min(...wholes.map(([from]) => from)), Math.max(...wholes.map(([, to]) => to))];
    const cut = filled.map(firstRange).filter(([from], i) => from > wholes[i][0]);
    return { whole, first: [cut.length ? Math.max(...cut.map(([from]) => from)) : whole[0], whole[1]] };
  }

  // As many panels as are wanted, of the datasets that are wanted; those that fit stay.
  fit(wanted) {
    const before = this.panels;
    const fits = (made, one) => made?.name === one.dataset && Boolean(made.chart) === Boolean(this.find(one.dataset));
    this.panels = wanted.map((one, i) => (fits(before[i], one) ? before[i] : this.made(one, i)));
    for (const one of before) if (!this.panels.includes(one)) one.close?.();
    const roots = this.panels.map((one) => one.root);
    if (!roots.length) return show(this.list, el("section", { class: "card empty-board" }, note(EMPTY)));
    if (roots.some((root, i) => this.list.children[i] !== root) || this.list.children.length !== roots.length)
      show(this.list, roots);
    return undefined;
  }

  made(panel, number) {
    const dataset = this.find(panel.dataset);
    const changed = (one) => this.changed(number, one);
    if (!dataset) return { name: panel.dataset, root: missing(panel, () => changed(null)) };
    const zoomed = (part) => this.choose({ ...part, last: null }, 1);
    return Object.assign(new BoardPanel({ dataset, number, tip: this.tip, changed, zoomed, out: () => this.zoomOut() }), {
      name: dataset.name,
    });
  }

  changed(number, panel) {
    this.choose({ panels: this.shown.map((one, i) => (i === number ? panel : one)).filter(Boolean) });
  }

  // What the reader chose goes into the address, and which panels there are into the memory of this browser.
  choose(part, zooms = 0) {
    this.zooms += zooms;
    if (part.panels) remember("board", part.panels);
    return go({ panels: this.shown ?? [], ...read(), ...part, view: "board" });
  }

  zoomOut() {
    if (this.zooms > 0) {
      this.zooms -= 1;
      return history.back();
    }
    const { from, to } = this.range;
    if (from === null) return undefined;
    const [oldest, newest] = this.extent(this.shown).whole;
    const [start, end] = [Math.max(oldest, from - (to - from)), Math.min(newest, to + (to - from))];
    return start >= from && end <= to ? undefined : this.choose({ from: start, to: end, last: null });
  }

  offer() {
    const names = this.datasets().map((one) => one.name);
    const before = this.dataset.value || this.shown?.at(-1)?.dataset;
    show(
      this.dataset,
      names.toSorted((a, b) => a.localeCompare(b, "en", { numeric: true })).map((one) => el("option", { value: one }, one)),
    );
    if (names.includes(before)) this.dataset.value = before;
    this.offerColumns();
    this.dataset.focus();
  }

  offerColumns() {
    const dataset = this.find(this.dataset.value);
    const columns = dataset ? drawnColumns(dataset) : [];
    const label = (one) => (one.unit ? `${one.name} (${one.unit})` : one.name);
    show(
      this.column,
      columns.map((one) => el("option", { value: one.name }, label(one))),
    );
    if (columns.length) this.column.value = preferredColumn(columns, dataset).name;
  }

  add() {
    this.adding.close();
    const panel = { dataset: this.dataset.value, fn: "avg", columns: [this.column.value], by: "" };
    this.choose({ panels: [...(this.shown ?? []), panel] });
  }

  async copyLink() {
    await navigator.clipboard?.writeText(location.href);
    this.link.textContent = "Copied";
    setTimeout(() => (this.link.textContent = "Copy link"), 2000);
  }

  failed(error) {
    show(this.state, note(words(error), "error"));
  }

  close() {
    this.closed = true;
    for (const one of this.panels) one.close?.();
  }
}

function missing(panel, away) {
  const button = el(
    "button",
    { type: "button", class: "plain", onclick: away, "aria-label": `Remove ${writePanel(panel)}` },
    "× Remove",
  );
  const text = note(`There is no dataset “${panel.dataset}” that is open to you.`, "error");
  return el("section", { class: "card" }, el("div", { class: "panel-title" }, el("h2", {}, panel.dataset), button), text);
}
