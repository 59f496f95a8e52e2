// The picture of an answer to SQL, above its table: which one and of which columns stands in the address.

import { el, note, show } from "../base/dom.js";
import { count, figure, plural } from "../base/format.js";
import { drawBars } from "../chart/bars.js";
import { draw } from "../chart/chart.js";
import { MOST_BARS, bars, chosen, lines, shapeOf, written } from "./shape.js";

const KINDS = { none: "table only", line: "lines", bars: "bars" };
const REDRAW_MS = 150;

export class AnswerChart {
  // `changed(text)`: what the reader chose, as it stands in an address.
  constructor({ tip, changed }) {
    Object.assign(this, { tip, changed, answer: null, shape: null, choice: null, range: null, pointer: null });
    this.kind = el("select", { id: "answer-kind", onchange: () => this.pick(this.kind.value, this.choice.columns) });
    this.column = el("select", {
      id: "answer-column",
      onchange: () => this.pick(this.choice.kind, this.column.value.split("\n")),
    });
    this.columnField = el("label", { class: "field" }, el("span", {}, "of"), this.column);
    this.whole = el("button", { type: "button", onclick: () => this.zoom(null) }, "Whole range");
    const kind = el("label", { class: "field" }, el("span", {}, "Show as"), this.kind);
    this.controls = el("div", { class: "controls" }, kind, this.columnField, el("span", { class: "grow" }), this.whole);
    this.legend = el("ul", { class: "legend", "aria-label": "Series" });
    this.stage = el("div", { class: "stage", id: "answer-chart", tabindex: 0, role: "img" });
    this.stage.addEventListener("keydown", (event) => this.pressed(event));
    this.stage.addEventListener("blur", () => this.pointer?.leave());
    this.said = el("p", { class: "facts" });
    this.root = el(
      "section",
      { class: "answer-chart", "aria-label": "Chart of the answer", hidden: true },
      this.controls,
      this.legend,
      this.stage,
      this.said,
    );
    let timer = null;
    this.watcher = new ResizeObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(() => this.resized(), REDRAW_MS);
    });
    this.watcher.observe(this.stage);
  }

  // `asked`: what the address says, null when it says nothing.
  load(answer, asked) {
    Object.assign(this, { answer, shape: shapeOf(answer), range: null });
    this.choice = chosen(this.shape, asked);
    this.redraw();
  }

  hide() {
    this.pointer?.leave();
    Object.assign(this, { answer: null, pointer: null });
    this.root.hidden = true;
  }

  pick(kind, columns) {
    const before = kind === "bars" ? columns.slice(0, 1) : columns.filter(Boolean);
    this.range = null;
    this.choice = chosen(this.shape, written({ kind, columns: before }));
    this.changed(written(this.choice));
    this.redraw();
  }

  redraw() {
    const { shape, choice, answer } = this;
    this.root.hidden = !shape.kinds.length;
    if (this.root.hidden) return undefined;
    this.offer();
    this.pointer?.leave();
    this.pointer = null;
    [this.stage.hidden, this.said.hidden] = [choice.kind === "none", choice.kind === "none"];
    this.stage.dataset.kind = choice.kind;
    show(this.legend);
    this.whole.hidden = !this.range;
    if (choice.kind === "line") return this.drawLines();
    if (choice.kind === "bars") return this.drawBars(bars(answer, shape, choice.columns[0]));
    return undefined;
  }

  offer() {
    const { shape, choice } = this;
    const option = (value, label) => el("option", { value }, label);
    show(
      this.kind,
      ["none", ...shape.kinds].map((kind) => option(kind, KINDS[kind])),
    );
    this.kind.value = choice.kind;
    this.columnField.hidden = choice.kind === "none" || (shape.numbers.length < 2 && choice.columns.length < 2);
    const names = shape.numbers.map((one) => one.name);
    const sets = [
      ...(choice.kind === "line" && names.length > 1 && names.length <= 8 ? [names] : []),
      ...names.map((name) => [name]),
    ];
    const now = choice.columns.join("\n");
    if (!sets.some((one) => one.join("\n") === now)) sets.unshift(choice.columns);
    const label = (set) => (set.length > 1 && set.length === names.length ? `all ${names.length} numbers` : set.join(", "));
    show(
      this.column,
      sets.map((set) => option(set.join("\n"), label(set))),
    );
    this.column.value = now;
  }

  drawLines() {
    const { answer, shape, choice } = this;
    const found = lines(answer, shape, choice.columns);
    const times = found.series.flatMap((one) => one.points.map((point) => point.t));
    const [first, last] = times.reduce(([a, b], t) => [Math.min(a, t), Math.max(b, t)], [Infinity, -Infinity]);
    const { from, to } = this.range ?? { from: first, to: last > first ? last : first + 1 };
    const series = found.series.map((one) => ({
      ...one,
      points: one.points.filter((point) => point.t >= from && point.t <= to),
    }));
    if (!series.some((one) => one.points.some((point) => point.v !== null))) return this.empty();
    const units = new Set(series.map((one) => one.unit));
    const zoom = (start, end) => this.zoom({ from: start, to: Math.max(end, start + 1) });
    if (!this.stage.clientWidth) return undefined;
    this.drawn = this.stage.clientWidth;
    const unit = units.size === 1 ? [...units][0] : "";
    const view = {
      result: { ...found, series },
      from,
      to,
      unit,
      fn: "raw",
      band: false,
      tip: this.tip,
      zoom,
      out: () => this.zoom(null),
    };
    this.pointer = draw(this.stage, view).pointer;
    const items = series.map((one, i) =>
      el("li", {}, el("span", { class: `swatch s${i % 8}` }), one.unit && !unit ? `${one.name} (${one.unit})` : one.name),
    );
    if (found.others) items.push(el("li", { class: "quiet" }, `and ${count(found.others)} more that are not drawn`));
    if (series.length > 1 || found.others) show(this.legend, items);
    this.stage.setAttribute(
      "aria-label",
      `Lines of ${choice.columns.join(", ")} over ${shape.time.name}; the table below has the values`,
    );
    return this.say(this.answer.whole ? "" : `Of the first ${plural(answer.rows.length, "row")}.`);
  }

  drawBars(items) {
    const { shape, choice, answer } = this;
    this.drawn = this.stage.clientWidth;
    const unit = shape.numbers.find((one) => one.name === choice.columns[0])?.unit ?? "";
    if (!items.some((one) => one.value !== null)) return this.empty();
    drawBars(this.stage, items, { unit });
    const of = (shape.label ?? shape.time).name;
    const values = items.map((one) => one.value).filter((value) => value !== null);
    const reach = `between ${figure(Math.min(...values))} and ${figure(Math.max(...values))}`;
    this.stage.setAttribute("aria-label", `Bars of ${choice.columns[0]} by ${of}, ${reach}; the table below has the values`);
    return this.say(answer.rows.length > MOST_BARS ? `The first ${MOST_BARS} of ${plural(answer.rows.length, "row")}.` : "");
  }

  empty() {
    this.stage.setAttribute("aria-label", "No values");
    show(this.stage, note("There is no value to draw."));
    this.say("");
  }

  say(text) {
    this.said.textContent = text;
    this.said.hidden = !text;
  }

  zoom(range) {
    this.range = range;
    this.redraw();
  }

  resized() {
    if (this.answer && this.choice.kind === "line" && this.stage.clientWidth && this.stage.clientWidth !== this.drawn)
      this.redraw();
  }

  pressed(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!this.pointer || (!step && event.key !== "Escape")) return;
    event.preventDefault();
    if (step) this.pointer.step(step);
    else this.pointer.leave();
  }

  close() {
    this.pointer?.leave();
    this.watcher.disconnect();
  }
}
