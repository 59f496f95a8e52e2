// Which grain to ask a range of time at: about one bucket for every two pixels, or the rows themselves when they are few.

import { DAY, HOUR, MINUTE } from "../base/format.js";

const SECOND = 1000;
const LADDER = [
  ...[1, 2, 5, 10, 15, 30].map((size) => step("second", size, SECOND)),
  ...[1, 2, 5, 10, 15, 30].map((size) => step("minute", size, MINUTE)),
  ...[1, 2, 3, 6, 12].map((size) => step("hour", size, HOUR)),
  ...[1, 2, 7, 14].map((size) => step("day", size, DAY)),
  step("month", 1, 30.44 * DAY),
  step("quarter", 1, 91.3 * DAY),
  step("year", 1, 365.25 * DAY),
];
export const PIXELS = 2;
export const MOST_ROWS = 3000;
export const RAW = { unit: "raw", size: 1, ms: 0, label: "single rows" };

function step(unit, size, ms) {
  return { unit, size, ms: size * ms, label: size === 1 ? `1 ${unit}` : `${size} ${unit}s` };
}

export function grainFor(span, width) {
  const wanted = (span / width) * PIXELS;
  return LADDER.find((one) => one.ms >= wanted * 0.999) ?? LADDER.at(-1);
}

// Grains that a reader may ask for, by their name in the address.
export const CHOICES = ["1m", "5m", "15m", "1h", "6h", "1d", "7d", "1month", "1quarter", "1year"];
const LETTERS = { s: "second", m: "minute", h: "hour", d: "day" };

export const nameOf = (grain) => `${grain.size}${grain.unit[0] in LETTERS && grain.ms <= 14 * DAY ? grain.unit[0] : grain.unit}`;

export function grainNamed(text) {
  const [, size, unit] = /^(\d+)([a-z]+)$/.exec(text ?? "") ?? [];
  return LADDER.find((one) => one.size === Number(size) && one.unit === (LETTERS[unit] ?? unit)) ?? null;
}

// The grain that the service says would do, when it refuses a question as too wide.
export function suggested(suggestion) {
  return LADDER.find((one) => one.unit === suggestion.intervalUnit && one.size === suggestion.intervalSize) ?? null;
}

// Rows that a range holds, judged by the partitions it touches, each taken to be spread evenly over its rows.
export function estimate(partitions, from, to) {
  let rows = 0;
  for (const one of partitions) {
    if (one.newest === null) continue;
    const [first, last] = [one.oldest, one.newest + 1];
    const shared = Math.min(last, to) - Math.max(first, from);
    if (shared > 0) rows += one.rows * (shared / (last - first));
  }
  return rows;
}
