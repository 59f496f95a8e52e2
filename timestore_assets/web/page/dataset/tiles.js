// A dataset's figures at a glance.

import { el } from "../base/dom.js";
import { ago, compact, count } from "../base/format.js";

export function totals(status) {
  const sum = (name) => status.sources.reduce((total, one) => total + (one[name] ?? 0), 0);
  const lags = status.sources.filter((one) => one.lag !== null);
  return {
    lag: lags.length ? sum("lag") : null,
    deadLetters: sum("deadLetters"),
    held: sum("held"),
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
    tile("Partitions", count(status.partitions), dataset.window === "all" ? "one for all times" : `one for each ${dataset.window}`),
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
