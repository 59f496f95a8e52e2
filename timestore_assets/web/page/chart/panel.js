// One chart with what belongs to it: its columns and figure, its legend, and its states in words.

import { words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { count, figure, fineness, plural, range } from "../base/format.js";
import { draw } from "./chart.js";
import { PanelHead } from "./panel-head.js";
import { MOST_SERIES, ask } from "./series.js";

const REDRAW_MS = 150;
// Pixels beside the plot itself.
const AXIS = 72;
const SHORTEST_MS = 10;

export class ChartPanel {
  // `changed(panel)`: other columns or another figure were chosen; null: it is to go. `zoomed({from, to})`, `out()`: zooms.
  constructor({ number, tip, changed, zoomed, out }) {
    Object.assign(this, { tip, zoomed, out, running: null, last: null, pointer: null });
    this.head = new PanelHead({ number, changed, redraw: () => this.redraw() });
    this.legend = el("ul", { class: "legend", "aria-label": "Series" });
    this.stage = el("div", {
      class: "stage",
      id: number ? `chart-${number}` : "chart",
      tabindex: 0,
      role: "img",
      "aria-label": "Chart",
      "aria-describedby": "chart-keys",
      "data-state": "loading",
    });
    this.facts = el("p", { class: "facts", id: number ? `facts-${number}` : "facts", "aria-live": "polite" });
    this.root = el(
      "section",
      { class: "panel", "aria-label": `Panel ${number + 1}` },
      this.head.root,
      this.legend,
      this.stage,
      this.facts,
    );
    this.listen();
  }

  listen() {
    this.stage.addEventListener("keydown", (event) => this.pressed(event));
    this.stage.addEventListener("blur", () => this.pointer?.leave());
    let timer = null;
    this.watcher = new ResizeObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(() => this.resized(), REDRAW_MS);
    });
    this.watcher.observe(this.stage);
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
    if (!this.last || this.stage.clientWidth === this.last.drawn || !this.stage.clientWidth) return;
    const { view } = this.last;
    if (Math.abs(this.stage.clientWidth - AXIS - view.width) > view.width / 4) this.load(view);
    else this.redraw();
  }

  // To round times, as far as the range's length allows.
  zoom(from, to) {
    const step = fineness((to - from) / 60);
    this.zoomed({ from: Math.floor(from / step) * step, to: Math.ceil(Math.max(to, from + SHORTEST_MS) / step) * step });
  }

  redraw() {
    // while another tab is shown there is no room to draw in; it is drawn when there is
    if (!this.last?.result.series.length || !this.last.valued || !this.stage.clientWidth) return;
    const { view, result } = this.last;
    this.pointer?.leave();
    this.last.drawn = this.stage.clientWidth;
    const zoom = (from, to) => this.zoom(from, to);
    const band = view.fn === "avg" && this.head.band.checked;
    const drawn = draw(this.stage, { ...view, result, band, tip: this.tip, zoom, out: this.out });
    this.pointer = drawn.pointer;
    this.facts.textContent = sentence(result, this.last.ms, drawn.cut, view.unit);
  }

  // What stood under the pointer belongs to the picture that goes.
  async load(asked) {
    this.stop();
    this.pointer?.leave();
    this.running = new AbortController();
    const { signal } = this.running;
    const view = { ...asked, width: Math.max(120, this.stage.clientWidth - AXIS) };
    this.root.classList.remove("bare");
    this.stage.dataset.state = "loading";
    this.stage.setAttribute("aria-busy", "true");
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
    const names = result.series.map((one) => one.name);
    const points = result.series.flatMap((one) => one.points);
    const valued = points.some((point) => point.v !== null);
    this.last = { view, result, ms, valued, drawn: 0 };
    Object.assign(this.stage.dataset, {
      grain: result.grain.label,
      buckets: result.buckets,
      points: points.length,
      series: names.join(","),
    });
    this.stage.dataset.state = valued ? "drawn" : "empty";
    this.stage.setAttribute("aria-label", valued ? summary(view, points) : "No values in this range");
    this.showLegend(names, view, result.others);
    this.facts.textContent = sentence(result, ms, null);
    if (valued) this.redraw();
    else this.say(note(result.rows ? `Every ${view.columns.join(", ")} in this range is missing.` : nothing(view)));
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

  showLegend(names, view, others) {
    const mixed = new Set(view.units).size > 1;
    const label = (name, i) =>
      mixed && view.units[i % view.units.length] ? `${name} (${view.units[i % view.units.length]})` : name;
    const items = names.map((name, i) => el("li", {}, el("span", { class: `swatch s${i % MOST_SERIES}` }), label(name, i)));
    if (others) items.push(el("li", { class: "quiet" }, `and ${count(others)} more that are not drawn`));
    show(this.legend, items);
    this.legend.hidden = (!view.by && view.columns.length < 2) || !names.length;
  }

  stop() {
    this.running?.abort();
  }

  close() {
    this.stop();
    this.pointer?.leave();
    this.watcher.disconnect();
  }
}

const nothing = (view) => `There are no rows in this range${view.filters?.length ? " that fulfil the filters" : ""}.`;

function sentence(result, ms, cut, unit = "") {
  const raw = result.grain.ms === 0;
  const grain = raw ? plural(result.rows, "single row") : `Grain ${result.grain.label} · ${plural(result.buckets, "bucket")}`;
  const warned = result.warnings.map((text) => ` · ${text}`).join("");
  const fine = cut ? (cut[1] - cut[0]) / 1000 : 0;
  const beyond = cut
    ? ` · min – max reaches from ${figure(cut[0], fine)} to ${figure(cut[1], fine)}${unit ? ` ${unit}` : ""}`
    : "";
  return `${grain} · version ${count(result.version)} · ${count(Math.max(1, Math.round(ms)))}\u00a0ms${beyond}${warned}`;
}

function summary(view, points) {
  const values = points.flatMap((point) => [point.lo ?? point.v, point.hi ?? point.v]).filter((value) => value !== null);
  const [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  const { unit } = view;
  return `Chart of ${view.columns.join(", ")}, ${range(view.from, view.to)}: between ${figure(low)} and ${figure(high)}${unit ? ` ${unit}` : ""}`;
}
