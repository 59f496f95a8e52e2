// The picture of a question's answer: a line with its min–max band for each series, a crosshair, and a range to zoom into.

import { svg } from "./dom.js";
import { figure, moment, range } from "./format.js";
import { linear, ticks, timeTicks } from "./scale.js";

const MARGIN = { top: 20, right: 14, bottom: 30, left: 58 };
// Points nearer to each other than this are a line, and no dots.
const DOT_PIXELS = 9;
const DRAGGED = 4;

// Draws into `stage`, an element with a width. `tip`: shows lines of text at a place. Gives {move, out} for the keyboard.
export function draw(stage, { result, from, to, unit, band, tip, zoom, out }) {
  const width = stage.clientWidth;
  const height = stage.clientHeight;
  const inner = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const x = linear([from, to], [inner.left, inner.right]);
  const y = linear(extent(result.series, band), [inner.bottom, inner.top]);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  picture.append(axes(x, y, inner, { from, to, unit }));
  const clip = svg("clipPath", { id: "plot" }, svg("rect", { x: inner.left, y: 0, width: inner.right - inner.left, height }));
  const lines = svg("g", { "clip-path": "url(#plot)" });
  result.series.forEach((one, i) => lines.append(...seriesMarks(one, i, { x, y, band, half: result.grain.ms / 2, dotted: (inner.right - inner.left) / DOT_PIXELS })));
  const cross = svg("g", { class: "cross", visibility: "hidden" });
  const selection = svg("rect", { class: "selection", y: inner.top, height: inner.bottom - inner.top, visibility: "hidden" });
  picture.append(clip, lines, selection, cross);
  stage.replaceChildren(picture);
  const pointer = crosshair({ picture, cross, result, x, y, inner, unit, tip });
  drag({ picture, selection, x, inner, zoom, out, pointer });
  return pointer;
}

function extent(series, band) {
  let [low, high] = [Infinity, -Infinity];
  for (const one of series) {
    for (const point of one.points) {
      for (const value of band ? [point.v, point.lo, point.hi] : [point.v]) {
        if (value !== null && Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
      }
    }
  }
  if (low > high) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  const floor = low >= 0 && low - room < 0 ? 0 : low - room;
  return [floor, high + room];
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

function seriesMarks(series, number, { x, y, band, half, dotted }) {
  const kind = `s${number % 8}`;
  const pieces = runs(series);
  const at = (point) => x(point.t + half);
  const marks = [];
  if (band) {
    const areas = pieces.filter((piece) => piece[0].lo !== null).map((piece) => area(piece, at, y)).join("");
    if (areas) marks.push(svg("path", { class: `band ${kind}`, d: areas }));
  }
  const shared = pieces.some((piece) => piece.some((point, i) => i && point.t === piece[i - 1].t));
  const lines = pieces.filter((piece) => piece.length > 1 && !shared);
  if (lines.length) marks.push(svg("path", { class: `line ${kind}`, d: lines.map((piece) => path(piece, at, y)).join("") }));
  const dots = shared || series.points.length <= dotted ? pieces.flat() : pieces.filter((piece) => piece.length === 1).flat();
  const radius = series.points.length > dotted ? 1.6 : 2.4;
  if (dots.length) marks.push(svg("path", { class: `dots ${kind}`, "stroke-width": radius * 2, d: dots.map((one) => `M${at(one).toFixed(1)} ${y(one.v).toFixed(1)}h0`).join("") }));
  return marks;
}

const path = (piece, at, y) => piece.map((point, i) => `${i ? "L" : "M"}${at(point).toFixed(1)} ${y(point.v).toFixed(1)}`).join("");

function area(piece, at, y) {
  // A single bucket's band is as wide as a line, or it could not be seen.
  const widen = piece.length === 1 ? 1 : 0;
  const upper = piece.map((point, i) => `${i ? "L" : "M"}${(at(point) - widen).toFixed(1)} ${y(point.hi).toFixed(1)}`);
  const lower = piece.toReversed().map((point) => `L${(at(point) + widen).toFixed(1)} ${y(point.lo).toFixed(1)}`);
  return `${upper.join("")}${lower.join("")}Z`;
}

function crosshair({ picture, cross, result, x, y, inner, unit, tip }) {
  const half = result.grain.ms / 2;
  const times = [...new Set(result.series.flatMap((one) => one.points.map((point) => point.t)))].sort((a, b) => a - b);
  const byTime = result.series.map((one) => new Map(one.points.map((point) => [point.t, point])));
  let current = -1;

  function at(index) {
    current = Math.max(0, Math.min(times.length - 1, index));
    const time = times[current];
    const place = x(time + half);
    const found = byTime.map((points, i) => ({ name: result.series[i].name, point: points.get(time), i })).filter((one) => one.point?.v != null);
    const dots = found.map(({ point, i }) => svg("circle", { class: `s${i % 8}`, cx: place, cy: y(point.v), r: 4 }));
    cross.replaceChildren(svg("line", { x1: place, x2: place, y1: inner.top, y2: inner.bottom }), ...dots);
    cross.setAttribute("visibility", "visible");
    const box = picture.getBoundingClientRect();
    const title = half ? range(time, time + result.grain.ms) : moment(time);
    tip.show(box.left + place, box.top + inner.top, title, found.map((one) => described(one, unit, result.series.length > 1)));
  }

  function near(pixel) {
    if (!times.length) return;
    const wanted = x.invert(pixel) - half;
    let [low, high] = [0, times.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (times[middle] < wanted) low = middle;
      else high = middle;
    }
    at(wanted - times[low] < times[high] - wanted ? low : high);
  }

  function leave() {
    current = -1;
    cross.setAttribute("visibility", "hidden");
    tip.hide();
  }

  const step = (by) => times.length && at(current < 0 ? (by > 0 ? 0 : times.length - 1) : current + by);
  return { near, leave, step, time: () => (current < 0 ? null : times[current]) };
}

function described({ name, point, i }, unit, several) {
  const near = Math.max(Math.abs(point.v), 1e-9) / 1000;
  const value = `${figure(point.v, near)}${unit ? ` ${unit}` : ""}`;
  const span = point.lo === null ? "" : `${figure(point.lo, near)} – ${figure(point.hi, near)}`;
  return { kind: `s${i % 8}`, name: several ? name : "average", value, span: point.lo === null && !several ? "" : span, plain: point.lo === null };
}

function drag({ picture, selection, x, inner, zoom, out, pointer }) {
  let began = null;
  const inside = (event) => Math.max(inner.left, Math.min(inner.right, event.clientX - picture.getBoundingClientRect().left));
  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    began = inside(event);
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    const now = inside(event);
    pointer.near(now);
    if (began === null || Math.abs(now - began) < DRAGGED) return;
    selection.setAttribute("x", Math.min(began, now));
    selection.setAttribute("width", Math.abs(now - began));
    selection.setAttribute("visibility", "visible");
  });
  picture.addEventListener("pointerup", (event) => {
    const [start, end] = [began, inside(event)].sort((a, b) => a - b);
    const dragged = began !== null && end - start >= DRAGGED;
    began = null;
    selection.setAttribute("visibility", "hidden");
    if (dragged) zoom(x.invert(start), x.invert(end));
  });
  picture.addEventListener("pointercancel", () => {
    began = null;
    selection.setAttribute("visibility", "hidden");
  });
  picture.addEventListener("pointerleave", () => pointer.leave());
  picture.addEventListener("dblclick", out);
}
