// Asks the service for what a chart shows, and turns the answer into series of points.

import { Problem, datasetPath, post } from "./api.js";
import { iso } from "./format.js";
import { MOST_ROWS, RAW, estimate, grainFor, suggested } from "./grain.js";

export const MOST_SERIES = 8;
const ALIASES = { avg: "__avg", min: "__min", max: "__max", count: "__n" };
const MOST_GROUPS = 5000;

// { grain, series: [{name, points: [{t, v, lo, hi, n}], gap}], buckets, rows, version, others, unit }
export async function ask(view, signal) {
  const groups = view.by ? await leading(view, signal) : null;
  const rows = estimate(view.partitions, view.from, view.to);
  if (rows <= view.width) {
    const raw = await rawRows(view, groups, signal);
    if (raw) return raw;
  }
  return buckets(view, groups, grainFor(view.to - view.from, view.width), signal);
}

// The groups with most rows in the range; asked first, since one question for all groups could answer with millions of rows.
async function leading(view, signal) {
  const downsample = { aggregations: [{ fn: "count", alias: ALIASES.count }], groupBy: [view.by] };
  const answer = await query(view, { downsample, limit: MOST_GROUPS }, signal);
  if (answer.rows.length === MOST_GROUPS)
    throw new Problem(0, "too_many", `${view.by} has too many values to draw a line for each; choose another column.`);
  const known = answer.rows.filter((row) => row[view.by] !== null);
  const sorted = known.sort((a, b) => b[ALIASES.count] - a[ALIASES.count]).map((row) => row[view.by]);
  return { shown: sorted.slice(0, MOST_SERIES).sort(byName), others: Math.max(0, sorted.length - MOST_SERIES) };
}

const byName = (a, b) => String(a).localeCompare(String(b), "en", { numeric: true });

async function rawRows(view, groups, signal) {
  const columns = [...new Set([view.time, view.column, ...(view.by ? [view.by] : [])])];
  const answer = await query(view, { columns, filters: only(view, groups), limit: MOST_ROWS + 1 }, signal);
  if (answer.rows.length > MOST_ROWS) return null;
  const point = (row) => ({ t: Date.parse(row[view.time]), v: number(row[view.column]), lo: null, hi: null, n: 1 });
  return result(view, RAW, answer, groups, point);
}

async function buckets(view, groups, grain, signal) {
  const aggregations = Object.entries(ALIASES).map(([fn, alias]) => ({ fn, column: view.column, alias }));
  const downsample = {
    intervalUnit: grain.unit,
    intervalSize: grain.size,
    aggregations,
    ...(view.by ? { groupBy: [view.by] } : {}),
  };
  let answer;
  try {
    answer = await query(view, { downsample, filters: only(view, groups) }, signal);
  } catch (error) {
    const coarser = error.code === "too_wide" && error.body.suggestion ? suggested(error.body.suggestion) : null;
    if (!coarser || coarser.ms <= grain.ms) throw error;
    return buckets(view, groups, coarser, signal);
  }
  const time = answer.columns[0].name;
  const point = (row) => ({
    t: Date.parse(row[time]),
    v: number(row[ALIASES.avg]),
    lo: number(row[ALIASES.min]),
    hi: number(row[ALIASES.max]),
    n: row[ALIASES.count],
  });
  return result(view, grain, answer, groups, point);
}

function query(view, question, signal) {
  const timeRange = { start: iso(view.from), end: iso(view.to) };
  const { filters, ...rest } = question;
  return post(datasetPath(view.dataset, "/query"), { timeRange, ...rest, ...(filters?.length ? { filters } : {}) }, signal);
}

function only(view, groups) {
  return groups?.others ? [{ column: view.by, op: "in", values: groups.shown }] : [];
}

// Numbers that JSON can't hold exactly come as text; a missing one stays null.
const number = (value) => (value === null || value === undefined ? null : Number(value));

function result(view, grain, answer, groups, point) {
  const named = new Map();
  for (const row of answer.rows) {
    const name = view.by ? row[view.by] : view.column;
    if (!named.has(name)) named.set(name, []);
    named.get(name).push(point(row));
  }
  const order = groups ? groups.shown.filter((name) => named.has(name)) : [...named.keys()];
  const series = order.map((name) => ({ name: String(name), points: named.get(name), gap: gap(named.get(name), grain) }));
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
function gap(points, grain) {
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
