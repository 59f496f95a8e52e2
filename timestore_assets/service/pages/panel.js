// The chart with what belongs to it: what is drawn, over which range, at which grain; and its states in words.

import { words } from "./api.js";
import { draw } from "./chart.js";
import { el, note, show } from "./dom.js";
import { count, figure, fineness, plural, range } from "./format.js";
import { MOST_SERIES, ask } from "./series.js";

const REDRAW_MS = 150;
// Pixels beside the plot itself.
const AXIS = 72;
const SHORTEST_MS = 10;
const HELP = "Drag to zoom in, double-click to zoom out. With the keyboard: ← → read values, + zooms in, − out.";

export class ChartPanel {
  // `changed(part)`: the reader chose another column, group or range. `out`: zooms out.
  constructor({ tip, changed, out }) {
    Object.assign(this, { tip, changed, out, running: null, last: null, pointer: null });
    this.column = el("select", { id: "column", onchange: () => changed({ column: this.column.value }) });
    this.by = el("select", { id: "by", onchange: () => changed({ by: this.by.value }) });
    this.band = el("input", { type: "checkbox", id: "band", checked: true, onchange: () => this.redraw() });
    this.range = el("p", { class: "range", id: "range" });
    this.legend = el("ul", { class: "legend", "aria-label": "Series" });
    this.stage = el("div", {
      class: "stage",
      id: "chart",
      tabindex: 0,
      role: "img",
      "aria-describedby": "chart-keys",
      "data-state": "loading",
    });
    this.facts = el("p", { class: "facts", id: "facts", "aria-live": "polite" });
    this.root = el(
      "section",
      { class: "card", "aria-labelledby": "chart-title" },
      el("div", { class: "card-head" }, el("h2", { id: "chart-title" }, "Values"), this.range),
      this.controls(),
      this.legend,
      this.stage,
      el("div", { class: "card-foot" }, this.facts, el("p", { class: "keys", id: "chart-keys" }, HELP)),
    );
    this.listen();
  }

  controls() {
    const field = (label, control) => el("label", { class: "field" }, el("span", {}, label), control);
    const button = (text, onclick) => el("button", { type: "button", onclick }, text);
    return el(
      "div",
      { class: "controls" },
      field("Column", this.column),
      field("Series by", this.by),
      el("label", { class: "check" }, this.band, "min – max"),
      el("span", { class: "grow" }),
      button("Zoom out", () => this.out()),
      button("Whole range", () => this.changed({ whole: true })),
    );
  }

  listen() {
    this.stage.addEventListener("keydown", (event) => this.pressed(event));
    this.stage.addEventListener("blur", () => this.pointer?.leave());
    let timer = null;
    new ResizeObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(() => this.resized(), REDRAW_MS);
    }).observe(this.stage);
  }

  pressed(event) {
    if (!this.last || !this.pointer) return;
    const { from, to } = this.last.view;
    const middle = this.pointer.time() ?? (from + to) / 2;
    const quarter = (to - from) / 4;
    const closer = () => this.zoom(Math.max(from, middle - quarter), Math.min(to, middle + quarter));
    const actions = {
      ArrowLeft: () => this.pointer.step(-1),
      ArrowRight: () => this.pointer.step(1),
      "+": closer,
      "=": closer,
      "-": () => this.out(),
      Escape: () => this.pointer.leave(),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  // A much wider or narrower chart asks again, at the grain that fits; otherwise the same answer is drawn anew.
  resized() {
    if (!this.last || this.stage.clientWidth === this.last.drawn) return;
    const { view } = this.last;
    if (Math.abs(this.stage.clientWidth - AXIS - view.width) > view.width / 4) this.load(view);
    else this.redraw();
  }

  // To round times, as far as the range's length allows.
  zoom(from, to) {
    const step = fineness((to - from) / 60);
    this.changed({ from: Math.floor(from / step) * step, to: Math.ceil(Math.max(to, from + SHORTEST_MS) / step) * step });
  }

  redraw() {
    if (!this.last?.result.series.length) return;
    const { view, result } = this.last;
    this.last.drawn = this.stage.clientWidth;
    const zoom = (from, to) => this.zoom(from, to);
    this.pointer = draw(this.stage, { ...view, result, band: this.band.checked, tip: this.tip, zoom, out: this.out });
  }

  async load(asked) {
    this.stop();
    this.running = new AbortController();
    const { signal } = this.running;
    const view = { ...asked, width: Math.max(120, this.stage.clientWidth - AXIS) };
    this.root.classList.remove("bare");
    this.stage.dataset.state = "loading";
    this.stage.setAttribute("aria-busy", "true");
    this.range.textContent = range(view.from, view.to);
    const began = performance.now();
    try {
      const result = await ask(view, signal);
      if (!signal.aborted) this.finished(view, result, performance.now() - began);
    } catch (error) {
      if (!signal.aborted) this.failed(error);
    } finally {
      if (!signal.aborted) this.stage.removeAttribute("aria-busy");
    }
  }

  finished(view, result, ms) {
    this.last = { view, result, drawn: 0 };
    const names = result.series.map((one) => one.name);
    const points = result.series.flatMap((one) => one.points);
    const valued = points.some((point) => point.v !== null);
    Object.assign(this.stage.dataset, {
      grain: result.grain.label,
      buckets: result.buckets,
      points: points.length,
      series: names.join(","),
    });
    this.stage.dataset.state = valued ? "drawn" : "empty";
    this.stage.setAttribute("aria-label", valued ? summary(view, points) : "No values in this range");
    this.showLegend(names, view.by, result.others);
    this.facts.textContent = sentence(result, ms);
    if (valued) this.redraw();
    else this.say(note(result.rows ? `Every ${view.column} in this range is missing.` : "There are no rows in this range."));
  }

  failed(error) {
    this.last = null;
    this.stage.dataset.state = "error";
    this.facts.textContent = "";
    show(this.legend);
    this.say(note(words(error), "error"));
  }

  say(words) {
    this.pointer = null;
    show(this.stage, words);
  }

  showLegend(names, by, others) {
    const items = names.map((name, i) => el("li", {}, el("span", { class: `swatch s${i % MOST_SERIES}` }), name));
    if (others) items.push(el("li", { class: "quiet" }, `and ${count(others)} more that are not drawn`));
    show(this.legend, items);
    this.legend.hidden = !by || !names.length;
  }

  choose({ columns, groups, column, by }) {
    const labelled = columns.map((one) => el("option", { value: one.name }, one.unit ? `${one.name} (${one.unit})` : one.name));
    show(this.column, labelled);
    show(this.by, [el("option", { value: "" }, "no column"), ...groups.map((name) => el("option", { value: name }, name))]);
    [this.column.value, this.by.value] = [column, by];
  }

  stop() {
    this.running?.abort();
  }

  // Instead of a chart, why there is none.
  without(text) {
    this.stop();
    this.root.classList.add("bare");
    this.last = null;
    this.stage.dataset.state = "empty";
    this.say(note(text));
  }
}

function sentence(result, ms) {
  const raw = result.grain.ms === 0;
  const grain = raw ? plural(result.rows, "single row") : `Grain ${result.grain.label} · ${plural(result.buckets, "bucket")}`;
  const warned = result.warnings.map((text) => ` · ${text}`).join("");
  return `${grain} · version ${count(result.version)} · ${count(Math.max(1, Math.round(ms)))}\u00a0ms${warned}`;
}

function summary(view, points) {
  const values = points.flatMap((point) => [point.lo ?? point.v, point.hi ?? point.v]).filter((value) => value !== null);
  const [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  const unit = view.unit ? ` ${view.unit}` : "";
  return `Chart of ${view.column}, ${range(view.from, view.to)}: between ${figure(low)} and ${figure(high)}${unit}`;
}
