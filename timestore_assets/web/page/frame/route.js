// What is looked at stands in the address, so that it can be sent to somebody and "back" undoes it.
//
//   #/NAME/TAB?last=30d&every=1h&by=COLUMN&panel=avg:temp,dewp&f=station:eq:JFK&order=oldest   a dataset
//   #board?last=30d&every=1h&panel=NAME:avg:temp,dewp:COLUMN                                   several datasets
//   #sql/SAVED?p.since=2024-01-01   #sql?q=SELECT…&chart=line:temp                             SQL
//   #upload                                                                                    a file to declare

import { iso, parse } from "../base/format.js";
import { readPanel, writePanel } from "../board/panels.js";
import { readFilter, writeFilter } from "../filters/conditions.js";

export const TABS = ["chart", "rows", "schema", "partitions", "sources", "alerts", "deadletters", "history"];

export function read(hash = location.hash) {
  const [path, search = ""] = hash.replace(/^#/, "").split("?");
  const query = new URLSearchParams(search);
  const [first = "", ...rest] = path.split("/").map(decoded);
  if (first === "sql") return sqlRoute(rest[0] ?? "", query);
  if (first === "upload") return { view: "upload" };
  if (first === "board")
    return { view: "board", ...rangeOf(query), panels: query.getAll("panel").map(readPanel).filter(Boolean) };
  if (!rest[0]) return { view: "home", dataset: "" };
  return {
    view: "dataset",
    dataset: rest[0],
    tab: TABS.includes(rest[1]) ? rest[1] : "chart",
    ...rangeOf(query),
    by: query.get("by"),
    panels: panelsOf(query),
    filters: query.getAll("f").map(readFilter).filter(Boolean),
    order: query.get("order") === "oldest" ? "oldest" : "newest",
  };
}

export function address(route) {
  if (route.view === "sql") return `#sql${route.saved ? `/${encodeURIComponent(route.saved)}` : ""}${sqlQuery(route)}`;
  if (route.view === "upload") return "#upload";
  if (route.view === "board") return `#board${suffix(boardQuery(route))}`;
  if (!route.dataset) return "#/";
  const query = rangeQuery(route);
  if (route.by !== null && route.by !== undefined) query.set("by", route.by);
  for (const one of route.panels ?? []) query.append("panel", `${one.fn}:${one.columns.map(encodeURIComponent).join(",")}`);
  for (const one of route.filters ?? []) query.append("f", writeFilter(one));
  if (route.order === "oldest") query.set("order", "oldest");
  const tab = route.tab && route.tab !== "chart" ? `/${route.tab}` : "";
  return `#/${encodeURIComponent(route.dataset)}${tab}${suffix(query)}`;
}

export function go(route, { replace = false } = {}) {
  if (replace) history.replaceState(null, "", address(route));
  else history.pushState(null, "", address(route));
  dispatchEvent(new PopStateEvent("popstate"));
}

// Writes the address without showing it anew.
export const note = (route) => history.replaceState(null, "", address(route));

// Commas and colons are left readable: no part of an address's fragment needs them encoded.
const suffix = (query) => (query.size ? `?${query.toString().replaceAll("%3A", ":").replaceAll("%2C", ",")}` : "");

function rangeQuery(route) {
  const query = new URLSearchParams();
  if (route.from != null && route.to != null) {
    query.set("from", iso(route.from));
    query.set("to", iso(route.to));
  } else if (route.last) query.set("last", route.last);
  if (route.every) query.set("every", route.every);
  return query;
}

function rangeOf(query) {
  const whole = query.has("from") && query.has("to");
  return {
    from: whole ? moment(query.get("from")) : null,
    to: whole ? moment(query.get("to")) : null,
    last: query.get("last"),
    every: query.get("every"),
  };
}

function boardQuery(route) {
  const query = rangeQuery(route);
  for (const one of route.panels ?? []) query.append("panel", writePanel(one));
  return query;
}

const sqlRoute = (saved, query) => ({
  view: "sql",
  saved,
  text: query.get("q"),
  chart: query.get("chart"),
  parameters: parametersOf(query),
});

function sqlQuery(route) {
  const query = new URLSearchParams();
  if (route.text && !route.saved) query.set("q", route.text);
  if (route.chart) query.set("chart", route.chart);
  for (const [name, value] of Object.entries(route.parameters ?? {})) query.set(`p.${name}`, value);
  return suffix(query);
}

const parametersOf = (query) =>
  Object.fromEntries([...query].filter(([name]) => name.startsWith("p.")).map(([name, value]) => [name.slice(2), value]));

function panelsOf(query) {
  const found = query.getAll("panel").map((text) => {
    const [fn, columns = ""] = text.split(":");
    return { fn, columns: columns.split(",").filter(Boolean).map(decoded) };
  });
  if (!found.length && query.get("column")) found.push({ fn: "avg", columns: [query.get("column")] });
  return found.filter((one) => one.columns.length);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

function moment(text) {
  const found = parse(text);
  return Number.isFinite(found) ? found : null;
}
