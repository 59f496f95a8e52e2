// The picture of a question's answer: a line with its min–max band for each series, a crosshair, and a range to zoom into.

import { Crosshair } from "./crosshair.js";
import { svg } from "../base/dom.js";
import { selecting } from "./selecting.js";
import { linear, ticks, timeTicks } from "./scale.js";

const MARGIN = { top: 20, right: 14, bottom: 30, left: 58 };
// Points nearer to each other than this are a line, and no dots.
const DOT_PIXELS = 9;

// Draws into `stage`, an element with a width. `tip`: shows lines of text at a place. Gives the crosshair, for the keyboard.
export function draw(stage, { result, from, to, unit, fn, band, tip, zoom, out }) {
  const width = stage.clientWidth;
  const height = stage.clientHeight;
  const inner = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const x = linear([from, to], [inner.left, inner.right]);
  const values = extent(result.series, band, { fromZero: fn === "count" });
  const y = linear(values, [inner.bottom, inner.top]);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  picture.append(axes(x, y, inner, { from, to, unit }));
  // A bucket stands at the middle of what the range shows of it.
  const at = (t) => x((Math.max(t, from) + Math.min(t + result.grain.ms, to)) / 2);
  const plot = `plot-${(plots += 1)}`;
  const frame = { x: inner.left, y: inner.top - 2, width: inner.right - inner.left, height: inner.bottom - inner.top + 2 };
  const clip = svg("clipPath", { id: plot }, svg("rect", frame));
  const lines = svg("g", { "clip-path": `url(#${plot})` });
  result.series.forEach((one, i) =>
    lines.append(
      ...seriesMarks(one, i, { at: (point) => at(point.t), y, band, dotted: (inner.right - inner.left) / DOT_PIXELS }),
    ),
  );
  const cross = svg("g", { class: "cross", visibility: "hidden" });
  const selection = svg("rect", { class: "selection", y: inner.top, height: inner.bottom - inner.top, visibility: "hidden" });
  picture.append(clip, lines, selection, cross);
  stage.replaceChildren(picture);
  const pointer = new Crosshair({ picture, cross, result, x, at, y, inner, tip });
  selecting({ picture, selection, x, inner, zoom, out, pointer });
  return { pointer, cut: values.cut };
}

// Numbers the clips of all charts of the page.
let plots = 0;
// A band so many times as high as its line would press the line flat; it is cut off then.
const DWARFED = 4;

// The lowest and the highest value of the picture. `cut`: what the band reaches beyond it, null when it is all there.
export function extent(series, band, { fromZero = false } = {}) {
  const line = reach(series, (point) => [point.v]);
  if (line[0] > line[1]) return Object.assign([0, 1], { cut: null });
  if (fromZero) return Object.assign([0, line[1] * 1.06 || 1], { cut: null });
  const all = band ? reach(series, (point) => [point.v, point.lo, point.hi]) : line;
  const dwarfed = line[1] > line[0] && all[1] - all[0] > DWARFED * (line[1] - line[0]);
  if (!dwarfed) return Object.assign(roomy(all, 0.06), { cut: null });
  const near = roomy(line, 0.6);
  return Object.assign([Math.max(near[0], all[0]), Math.min(near[1], all[1])], { cut: all });
}

function reach(series, valuesOf) {
  let [low, high] = [Infinity, -Infinity];
  for (const one of series) {
    for (const point of one.points) {
      for (const value of valuesOf(point)) {
        if (value !== null && Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
      }
    }
  }
  return [low, high];
}

function roomy([low, high], part) {
  const room = (high - low || Math.abs(high) || 1) * part;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

function axes(x, y, inner, { from, to, unit }) {
  const group = svg("g", { class: "axes" });
  for (const { value, label } of ticks(y.invert(inner.bottom), y.invert(inner.top), (inner.bottom - inner.top) / 48)) {
    const at = Math.round(y(value)) + 0.5;
    group.append(svg("line", { class: "grid", x1: inner.left, x2: inner.right, y1: at, y2: at }));
    group.append(svg("text", { x: inner.left - 8, y: at, dy: "0.32em", "text-anchor": "end" }, label));
  }
  for (const { value, label, strong } of timeTicks(from, to, (inner.right - inner.left) / 80)) {
    const at = x(value);
    group.append(svg("line", { class: "tick", x1: at, x2: at, y1: inner.bottom, y2: inner.bottom + 5 }));
    if (at > inner.left + 10 && at < inner.right - 14) {
      group.append(svg("text", { x: at, y: inner.bottom + 19, "text-anchor": "middle", class: strong ? "strong" : null }, label));
    }
  }
  group.append(svg("line", { class: "base", x1: inner.left, x2: inner.right, y1: inner.bottom + 0.5, y2: inner.bottom + 0.5 }));
  if (unit) group.append(svg("text", { class: "unit", x: inner.left - 8, y: 9, "text-anchor": "end" }, unit));
  return group;
}

// Runs of points without a gap between them; where there is no value there is no line.
export function runs(series) {
  const found = [];
  let last = null;
  for (const point of series.points) {
    if (point.v === null) {
      last = null;
      continue;
    }
    if (last === null || point.t - last > series.gap) found.push([]);
    found.at(-1).push(point);
    last = point.t;
  }
  return found;
}

function seriesMarks(series, number, { at, y, band, dotted }) {
  const kind = `s${number % 8}`;
  const pieces = runs(series);
  const marks = [];
  if (band) {
    const areas = pieces
      .filter((piece) => piece[0].lo !== null)
      .map((piece) => area(piece, at, y))
      .join("");
    if (areas) marks.push(svg("path", { class: `band ${kind}`, d: areas }));
  }
  const shared = pieces.some((piece) => piece.some((point, i) => i && point.t === piece[i - 1].t));
  const lines = pieces.filter((piece) => piece.length > 1 && !shared);
  if (lines.length) marks.push(svg("path", { class: `line ${kind}`, d: lines.map((piece) => path(piece, at, y)).join("") }));
  const dots = shared || series.points.length <= dotted ? pieces.flat() : pieces.filter((piece) => piece.length === 1).flat();
  const radius = series.points.length > dotted ? 1.6 : 2.4;
  if (dots.length)
    marks.push(
      svg("path", {
        class: `dots ${kind}`,
        "stroke-width": radius * 2,
        d: dots.map((one) => `M${at(one).toFixed(1)} ${y(one.v).toFixed(1)}h0`).join(""),
      }),
    );
  return marks;
}

const path = (piece, at, y) =>
  piece.map((point, i) => `${i ? "L" : "M"}${at(point).toFixed(1)} ${y(point.v).toFixed(1)}`).join("");

function area(piece, at, y) {
  // A single bucket's band is as wide as a line, or it could not be seen.
  const widen = piece.length === 1 ? 1 : 0;
  const upper = piece.map((point, i) => `${i ? "L" : "M"}${(at(point) - widen).toFixed(1)} ${y(point.hi).toFixed(1)}`);
  const lower = piece.toReversed().map((point) => `L${(at(point) + widen).toFixed(1)} ${y(point.lo).toFixed(1)}`);
  return `${upper.join("")}${lower.join("")}Z`;
}
