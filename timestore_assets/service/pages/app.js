// The page: which dataset is looked at, and keeping what is shown of it up to date.

import { datasetPath, get, token, words } from "./api.js";
import { CalendarPanel } from "./calendar.js";
import { datasetList, tiles, totals } from "./datasets.js";
import { el, note, show } from "./dom.js";
import { parse } from "./format.js";
import { estimate } from "./grain.js";
import { ChartPanel } from "./panel.js";
import { go, read } from "./route.js";
import { lettersPanel, sourcesPanel } from "./sources.js";
import { tipOf } from "./tip.js";

const REFRESH_MS = 15_000;
const STATUSES_AT_ONCE = 4;
const SECOND = 1000;
const PAGE_PARTITIONS = 10_000;
// A first look over more rows than these would keep the reader waiting; it begins with the newest partitions.
const FIRST_LOOK_ROWS = 5_000_000;
const NUMERIC = /^(u?int|float|double|decimal|bigint|hugeint)/;
const GROUPED = /^(string|bool|int32|utf8|varchar)/;

const main = document.getElementById("main");
const tip = tipOf(document.getElementById("tip"));
const list = datasetList({ list: document.getElementById("datasets"), search: document.getElementById("search") });

let datasets = [];
const statuses = new Map();
let current = null;

// --- one dataset

function open(dataset) {
  close();
  const view = { dataset, partitions: [], zooms: 0 };
  const head = el("header", { class: "head" }, el("h1", {}, dataset.name), dataset.description ? el("p", {}, dataset.description) : null);
  const numbers = el("div", { id: "tiles" });
  const state = el("div", { id: "state" });
  const chart = new ChartPanel({ tip, changed: (part) => change(part), out: () => zoomOut(view) });
  const calendar = new CalendarPanel({ tip, chosen: (one) => change({ from: one.from, to: one.to }) });
  const sources = sourcesPanel();
  const letters = lettersPanel();
  Object.assign(view, { head, numbers, state, chart, calendar, sources, letters });
  const back = el("a", { class: "back", href: "#/" }, "← All datasets");
  show(main, [back, head, state, numbers, chart.root, calendar.root, sources.root, letters.root]);
  current = view;
  return view;
}

function close() {
  current?.chart.stop();
  tip.hide();
  current = null;
}

async function refresh(view) {
  const name = view.dataset.name;
  const [status, partitions] = await Promise.all([get(datasetPath(name, "/status")), allPartitions(name)]);
  if (current !== view) return;
  const letters = totals(status).deadLetters;
  const changed = view.version !== status.manifestVersion;
  Object.assign(view, { partitions, version: status.manifestVersion });
  show(view.state);
  show(view.numbers, tiles(view.dataset, status, partitions));
  view.sources.load(status);
  if (changed || letters !== view.deadLetters) view.letters.load(name, letters);
  view.deadLetters = letters;
  if (changed) view.calendar.load(partitions, view.dataset.window);
  // A range that somebody chose stays as it is; the whole of the data grows with them.
  if (changed && read().from === null) await look(view);
}

async function allPartitions(name) {
  const found = [];
  let cursor = null;
  do {
    const query = new URLSearchParams({ limit: PAGE_PARTITIONS, ...(cursor ? { cursor } : {}) });
    const page = await get(datasetPath(name, `/partitions?${query}`));
    found.push(...page.partitions);
    cursor = page.nextCursor;
  } while (cursor);
  return found.map((one) => ({ ...one, from: parse(one.start), to: parse(one.end), oldest: parse(one.minTime), newest: parse(one.maxTime) }));
}

function look(view) {
  const route = read();
  const columns = view.dataset.columns.filter((one) => NUMERIC.test(one.type) && one.name !== view.dataset.time);
  const groups = groupColumns(view.dataset);
  if (!columns.length) return view.chart.without("This dataset has no column of numbers to draw.");
  const column = columns.find((one) => one.name === route.column) ?? preferred(columns, view.dataset);
  const by = route.by === null ? (view.dataset.partitionBy?.[0] ?? "") : groups.includes(route.by) ? route.by : "";
  const [from, to] = route.from !== null && route.to > route.from ? [route.from, route.to] : firstRange(view.partitions);
  const asked = { dataset: view.dataset.name, time: view.dataset.time, column: column.name, unit: column.unit, by, from, to, partitions: view.partitions };
  view.asked = asked;
  view.chart.choose({ columns, groups, column: column.name, by });
  view.calendar.mark(from, to);
  if (from === null) return view.chart.without("There is nothing to draw yet: no rows have landed.");
  return view.chart.load(asked);
}

function groupColumns(dataset) {
  const named = dataset.columns.filter((one) => GROUPED.test(one.type)).map((one) => one.name);
  const first = (dataset.partitionBy ?? []).filter((name) => named.includes(name));
  return [...new Set([...first, ...named])];
}

// Measured values have units or fractions; years, months and ids are rarely what somebody wants to see first.
function preferred(columns, dataset) {
  const free = columns.filter((one) => !(dataset.partitionBy ?? []).includes(one.name));
  return free.find((one) => one.unit) ?? free.find((one) => !one.type.startsWith("int")) ?? free[0] ?? columns[0];
}

// From the oldest to the newest row; of very large datasets the newest partitions.
function firstRange(partitions, whole = false) {
  const filled = partitions.filter((one) => one.newest !== null);
  if (!filled.length) return [null, null];
  const to = Math.floor(filled.reduce((latest, one) => Math.max(latest, one.newest), -Infinity) / SECOND + 1) * SECOND;
  const oldest = filled.reduce((first, one) => Math.min(first, one.oldest), Infinity);
  if (whole || estimate(filled, oldest, to) <= FIRST_LOOK_ROWS) return [oldest, to];
  let rows = 0;
  const recent = filled.toReversed().filter((one) => (rows += one.rows) <= FIRST_LOOK_ROWS);
  return [(recent.at(-1) ?? filled.at(-1)).from, to];
}

function change(part) {
  const route = read();
  const view = current;
  if (part.whole) {
    const [from, to] = firstRange(view.partitions, true);
    const [first] = firstRange(view.partitions);
    return go({ ...route, from: from === first ? null : from, to: from === first ? null : to });
  }
  if (part.from !== undefined) view.zooms += 1;
  return go({ ...route, ...part });
}

// Back to where a zoom began; without one, three times as much around the middle.
function zoomOut(view) {
  if (view.zooms > 0) {
    view.zooms -= 1;
    return history.back();
  }
  const { from, to } = view.asked;
  const [first, last] = firstRange(view.partitions, true);
  const start = Math.max(first, from - (to - from));
  const end = Math.min(last, to + (to - from));
  if (start !== from || end !== to) go({ ...read(), from: start, to: end });
  return undefined;
}

// --- all of them

async function loadList() {
  try {
    datasets = (await get("/datasets")).datasets;
    list.load(datasets);
    return true;
  } catch (error) {
    datasets = [];
    list.say(words(error));
    close();
    show(main, error.status === 401 ? welcome("This service asks for a token", "Enter one at the top of the page. It stays in this tab and is forgotten when you close it.") : note(words(error), "error"));
    if (error.status === 401) document.getElementById("token").focus();
    return false;
  }
}

async function loadStatuses() {
  const waiting = datasets.filter((one) => one.readable).map((one) => one.name);
  const work = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      try {
        statuses.set(name, await get(datasetPath(name, "/status")));
      } catch {
        statuses.delete(name);
      }
    }
  };
  await Promise.all(Array.from({ length: STATUSES_AT_ONCE }, work));
  list.status(statuses);
}

async function follow() {
  const route = read();
  document.body.classList.toggle("chosen", Boolean(route.dataset));
  list.choose(route.dataset);
  const dataset = datasets.find((one) => one.name === route.dataset);
  document.title = dataset ? `${dataset.name} · timestore` : "timestore";
  if (!route.dataset) return start();
  if (!dataset) {
    close();
    return show(main, note(`There is no dataset “${route.dataset}” that is open to you.`, "error"));
  }
  if (!dataset.readable) {
    close();
    return show(main, welcome(dataset.name, "Your token may send records to this dataset, and not read it."));
  }
  if (current?.dataset.name === dataset.name) return look(current);
  const view = open(dataset);
  show(view.state, note("Loading…"));
  try {
    await refresh(view);
    if (current === view && read().from !== null) await look(view);
  } catch (error) {
    if (current === view) show(view.state, note(words(error), "error"));
  }
  return undefined;
}

function start() {
  close();
  if (matchMedia("(min-width: 60rem)").matches && datasets.length) {
    const fullest = datasets.reduce((most, one) => ((one.rows ?? -1) > (most.rows ?? -1) ? one : most));
    return go({ dataset: fullest.name, from: null, to: null }, { replace: true });
  }
  return show(main, datasets.length ? [] : welcome("Nothing here yet", "Declare a dataset and land some records; it appears here by itself."));
}

function welcome(title, text) {
  return el("section", { class: "welcome" }, el("h1", {}, title), el("p", {}, text));
}

async function again() {
  if (document.hidden) return;
  if (!datasets.length && !(await loadList())) return;
  await loadStatuses();
  if (current) await refresh(current).catch((error) => show(current?.state ?? main, note(words(error), "error")));
}

async function begin() {
  close();
  if (!(await loadList())) return;
  await follow();
  await loadStatuses();
}

const field = document.getElementById("token");
field.value = token.get();
document.getElementById("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(field.value.trim());
  statuses.clear();
  begin();
});
addEventListener("popstate", follow);
document.addEventListener("visibilitychange", again);
setInterval(again, REFRESH_MS);
begin();

