// Asks the service for what a chart shows, and turns the answer into series of points.

import { Problem, datasetPath, post } from "../base/api.js";
import { iso } from "../base/format.js";
import { RAW_FIGURES, aggregation } from "./figures.js";
import { MOST_ROWS, RAW, estimate, grainFor, grainNamed, suggested } from "./grain.js";

export const MOST_SERIES = 8;
const COUNT = "__n";
// What is counted or added up says more in fewer, longer buckets.
const ADDED_UP = 8;
const MOST_GROUPS = 5000;

// `view`: { dataset, time, columns, units, fn, by, from, to, every, filters, partitions, width }.
// Gives { grain, series: [{name, unit, points: [{t, v, lo, hi, n}], gap}], buckets, rows, version, warnings, others }.
export async function ask(view, signal) {
  const groups = view.by ? await leading(view, signal) : null;
  const named = grainNamed(view.every);
  if (!named && RAW_FIGURES.has(view.fn) && estimate(view.partitions, view.from, view.to) <= view.width) {
    const raw = await rawRows(view, groups, signal);
    if (raw) return raw;
  }
  const width = RAW_FIGURES.has(view.fn) ? view.width : view.width / ADDED_UP;
  return buckets(view, groups, named ?? grainFor(view.to - view.from, width), signal, Boolean(named));
}

// The groups with most rows in the range; asked first, since one question for all groups could answer with millions of rows.
async function leading(view, signal) {
  const downsample = { aggregations: [{ fn: "count", alias: COUNT }], groupBy: [view.by] };
  const answer = await query(view, { downsample, limit: MOST_GROUPS }, signal);
  if (answer.rows.length === MOST_GROUPS)
    throw new Problem(0, "too_many", `${view.by} has too many values to draw a line for each; choose another column.`);
  const known = answer.rows.filter((row) => row[view.by] !== null);
  const sorted = known.sort((a, b) => b[COUNT] - a[COUNT]).map((row) => row[view.by]);
  const most = Math.max(1, Math.floor(MOST_SERIES / view.columns.length));
  return { shown: sorted.slice(0, most).sort(byName), others: Math.max(0, sorted.length - most) };
}

const byName = (a, b) => String(a).localeCompare(String(b), "en", { numeric: true });

async function rawRows(view, groups, signal) {
  const columns = [...new Set([view.time, ...view.columns, ...(view.by ? [view.by] : [])])];
  const answer = await query(view, { columns, filters: only(view, groups), limit: MOST_ROWS + 1 }, signal);
  if (answer.rows.length > MOST_ROWS) return null;
  const point = (row, i) => ({ t: Date.parse(row[view.time]), v: number(row[view.columns[i]]), lo: null, hi: null, n: 1 });
  return result(view, RAW, answer, groups, point);
}

async function buckets(view, groups, grain, signal, fixed) {
  const banded = view.fn === "avg";
  const aggregations = view.columns.flatMap((column, i) => [
    aggregation(view.fn, column, `__v${i}`),
    ...(banded ? [aggregation("min", column, `__lo${i}`), aggregation("max", column, `__hi${i}`)] : []),
  ]);
  const downsample = {
    intervalUnit: grain.unit,
    intervalSize: grain.size,
    aggregations: [...aggregations, { fn: "count", alias: COUNT }],
    ...(view.by ? { groupBy: [view.by] } : {}),
  };
  let answer;
  try {
    answer = await query(view, { downsample, filters: only(view, groups) }, signal);
  } catch (error) {
    const coarser = error.code === "too_wide" && error.body.suggestion ? suggested(error.body.suggestion) : null;
    if (fixed || !coarser || coarser.ms <= grain.ms) throw error;
    return buckets(view, groups, coarser, signal, fixed);
  }
  const time = answer.columns[0].name;
  const point = (row, i) => ({
    t: Date.parse(row[time]),
    v: number(row[`__v${i}`]),
    lo: banded ? number(row[`__lo${i}`]) : null,
    hi: banded ? number(row[`__hi${i}`]) : null,
    n: row[COUNT],
  });
  return result(view, grain, answer, groups, point);
}

function query(view, question, signal) {
  const timeRange = { start: iso(view.from), end: iso(view.to) };
  const { filters = [], ...rest } = question;
  const all = [...(view.filters ?? []), ...filters];
  return post(datasetPath(view.dataset, "/query"), { timeRange, ...rest, ...(all.length ? { filters: all } : {}) }, signal);
}

function only(view, groups) {
  return groups?.others ? [{ column: view.by, op: "in", values: groups.shown }] : [];
}

// Numbers that JSON can't hold exactly come as text; a missing one stays null.
const number = (value) => (value === null || value === undefined ? null : Number(value));

function result(view, grain, answer, groups, point) {
  const named = new Map();
  for (const row of answer.rows) {
    const group = view.by ? row[view.by] : "";
    if (!named.has(group)) named.set(group, []);
    named.get(group).push(row);
  }
  const order = groups ? groups.shown.filter((name) => named.has(name)) : [...named.keys()];
  const several = view.columns.length > 1;
  const series = order.flatMap((group) =>
    view.columns.map((column, i) => {
      const points = named.get(group).map((row) => point(row, i));
      const name = view.by ? (several ? `${group} · ${column}` : String(group)) : column;
      return { name, unit: view.units[i], points, gap: gap(points, grain) };
    }),
  );
  const times = new Set(series.flatMap((one) => one.points.map((at) => at.t)));
  return {
    grain,
    series,
    buckets: times.size,
    rows: answer.rows.length,
    version: answer.manifestVersion,
    warnings: answer.warnings ?? [],
    others: groups?.others ?? 0,
  };
}

// How far apart neighbours may be and still be joined: regular data by their own rhythm, irregular ones more generously.
export function gap(points, grain) {
  const spacings = points
    .slice(1)
    .map((one, i) => one.t - points[i].t)
    .filter((ms) => ms > 0)
    .sort((a, b) => a - b);
  if (!spacings.length) return Infinity;
  const median = spacings[Math.floor(spacings.length / 2)];
  const regular = spacings.filter((ms) => Math.abs(ms - median) <= median * 0.11).length >= spacings.length * 0.7;
  return Math.max(grain.ms * 1.5, median * (regular ? 1.5 : 6));
}
