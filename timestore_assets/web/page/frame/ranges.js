// Ranges of time by name, such as the last 30 days, and what they are for a dataset.

import { DAY, HOUR, range } from "../base/format.js";

export const RANGES = [
  { key: "1h", label: "Last hour", ms: HOUR },
  { key: "6h", label: "Last 6 hours", ms: 6 * HOUR },
  { key: "24h", label: "Last 24 hours", ms: DAY },
  { key: "7d", label: "Last 7 days", ms: 7 * DAY },
  { key: "30d", label: "Last 30 days", ms: 30 * DAY },
  { key: "1y", label: "Last year", ms: 365 * DAY },
];
const SECOND = 1000;

// { from, to, label, note }: what an address asks to see. `whole`, `first`: [from, to] of all rows, and of a first look.
// Data that ended long ago would be empty seen from now, so "last" is told from its newest row then.
export function resolved(route, { whole, first }, now = Date.now()) {
  if (route.from !== null && route.to > route.from) {
    return { from: route.from, to: route.to, label: range(route.from, route.to), note: "" };
  }
  const known = RANGES.find((one) => one.key === route.last);
  if (whole[0] === null) return { from: null, to: null, label: known?.label ?? "All of it", note: "" };
  if (known) {
    const finished = whole[1] < now - known.ms;
    const to = finished ? whole[1] : Math.ceil(now / SECOND) * SECOND;
    return { from: to - known.ms, to, label: known.label, note: finished ? "before its newest row" : "" };
  }
  const all = route.last === "all" || first[0] === whole[0];
  const [from, to] = all ? whole : first;
  return { from, to, label: all ? "All of it" : "Newest part", note: "" };
}
