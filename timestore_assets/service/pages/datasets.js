// The list of datasets: what each holds and whether something is wrong with it, at a glance.

import { el, note, show } from "./dom.js";
import { ago, compact, count, parse } from "./format.js";
import { address } from "./route.js";

export function datasetList({ list, search }) {
  let datasets = [];
  let statuses = new Map();
  let chosen = "";

  search.addEventListener("input", redraw);
  list.addEventListener("keydown", (event) => {
    const links = [...list.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (at < 0 || !by) return;
    event.preventDefault();
    links[Math.max(0, Math.min(links.length - 1, at + by))].focus();
  });

  function redraw() {
    const words = search.value.trim().toLowerCase();
    const found = datasets.filter((one) => `${one.name} ${one.description ?? ""}`.toLowerCase().includes(words));
    if (!datasets.length) return show(list, note("No dataset is open to you here."));
    if (!found.length) return show(list, note(`No dataset matches “${search.value.trim()}”.`));
    const focused = document.activeElement?.dataset?.name;
    show(list, el("ul", { class: "datasets" }, found.map(item)));
    if (focused) [...list.querySelectorAll("a")].find((one) => one.dataset.name === focused)?.focus();
  }

  function item(one) {
    const status = statuses.get(one.name);
    const link = {
      class: "dataset",
      href: address({ dataset: one.name, from: null, to: null }),
      "data-name": one.name,
      "aria-current": one.name === chosen ? "page" : null,
    };
    const newest = parse(one.newest);
    const parts = [one.readable ? `${compact(one.rows)} rows` : "for writing only"];
    if (status) parts.push(`${compact(status.partitions)} ${status.partitions === 1 ? "partition" : "partitions"}`);
    return el(
      "li",
      {},
      el(
        "a",
        link,
        el("span", { class: "dataset-name" }, one.name),
        el("span", { class: "dataset-facts" }, parts.join(" · ")),
        newest ? el("span", { class: "dataset-facts" }, `newest ${ago(newest)}`) : null,
        badges(status),
      ),
    );
  }

  return {
    load: (found) => [(datasets = found), redraw()],
    status: (found) => [(statuses = found), redraw()],
    choose: (name) => [(chosen = name), redraw()],
    say: (words) => show(list, note(words, "error")),
  };
}

function badges(status) {
  if (!status) return null;
  const { lag, deadLetters, paused } = totals(status);
  const found = [];
  if (paused) found.push(el("span", { class: "badge bad" }, "paused"));
  if (lag) found.push(el("span", { class: "badge" }, `lag ${compact(lag)}`));
  if (deadLetters) found.push(el("span", { class: "badge warn" }, `${compact(deadLetters)} dead letters`));
  return found.length ? el("span", { class: "badges" }, found) : null;
}

export function totals(status) {
  const sum = (name) => status.sources.reduce((total, one) => total + (one[name] ?? 0), 0);
  const lags = status.sources.filter((one) => one.lag !== null);
  return {
    lag: lags.length ? sum("lag") : null,
    deadLetters: sum("deadLetters"),
    paused: status.sources.some((one) => one.paused),
    rate: sum("rowsPerSecond"),
  };
}

export function tiles(dataset, status, partitions) {
  const { lag, deadLetters, rate } = totals(status);
  const topics = status.sources.some((one) => one.source.startsWith("kafka:"));
  const newest = partitions.reduce((latest, one) => Math.max(latest, one.newest ?? -Infinity), -Infinity);
  const tile = (label, value, small, kind = "") =>
    el("div", { class: `tile ${kind}` }, el("dt", {}, label), el("dd", {}, value, small ? el("small", {}, small) : null));
  const letters = tile(
    "Dead letters",
    count(deadLetters),
    deadLetters ? "refused, kept as they came" : "none refused",
    deadLetters ? "warn" : "",
  );
  return el(
    "dl",
    { class: "tiles" },
    tile("Rows", count(status.rows), rate ? `${compact(Math.round(rate))} rows/s now` : null),
    tile("Partitions", count(status.partitions), `one for each ${dataset.window}`),
    tile(
      "Newest row",
      Number.isFinite(newest) ? ago(newest) : "–",
      Number.isFinite(newest) ? new Date(newest).toISOString().slice(0, 16).replace("T", " ") : null,
    ),
    tile(
      "Lag",
      lag === null ? "–" : count(lag),
      lag !== null ? "records not read yet" : topics ? "its brokers don’t answer" : "no topic",
    ),
    letters,
    tile(
      "Version",
      count(status.manifestVersion),
      status.unbuiltRows ? `${compact(status.unbuiltRows)} rows not built` : "all rows built",
    ),
  );
}
