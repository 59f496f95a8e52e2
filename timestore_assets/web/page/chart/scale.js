// Scales and their ticks, for values and for time in UTC.

import { DAY, HOUR, MINUTE, MONTHS, clock, figure } from "../base/format.js";

export function linear([low, high], [start, end]) {
  const scale = (value) => start + ((value - low) / (high - low)) * (end - start);
  scale.invert = (pixel) => low + ((pixel - start) / (end - start)) * (high - low);
  return scale;
}

// About so many round values within [low, high].
export function ticks(low, high, wanted) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((one) => one * power >= rough * 0.999) ?? 10);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at += 1) {
    const value = Number((at * step).toPrecision(12));
    found.push({ value, label: figure(value, step) });
  }
  return found;
}

const STEPS = [
  1000,
  5000,
  15000,
  30000,
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 3, 6, 12].map((n) => n * HOUR),
  DAY,
  2 * DAY,
  7 * DAY,
];
const MONTH_STEPS = [1, 2, 3, 6, 12, 24, 60, 120];
const MONTH = 30.44 * DAY;
// A Monday, so that weeks begin on one.
const MONDAY = Date.UTC(2000, 0, 3);

export function timeTicks(from, to, wanted) {
  const rough = (to - from) / Math.max(1, wanted);
  const step = STEPS.find((one) => one >= rough);
  return step ? fixed(from, to, step) : byMonth(from, to, rough / MONTH);
}

function fixed(from, to, step) {
  const found = [];
  for (let at = MONDAY + Math.ceil((from - MONDAY) / step) * step; at <= to; at += step) {
    found.push({ value: at, label: label(at, step), strong: at % DAY === 0 && step < DAY });
  }
  return found;
}

function label(at, step) {
  const when = new Date(at);
  if (at % DAY === 0) {
    const text = `${when.getUTCDate()} ${MONTHS[when.getUTCMonth()]}`;
    return when.getUTCMonth() === 0 && when.getUTCDate() <= Math.max(1, step / DAY) ? `${text} ${when.getUTCFullYear()}` : text;
  }
  return clock(at, step < MINUTE);
}

function byMonth(from, to, rough) {
  const step = MONTH_STEPS.find((one) => one >= rough * 0.8) ?? MONTH_STEPS.at(-1);
  const start = new Date(from);
  const months = start.getUTCFullYear() * 12 + start.getUTCMonth();
  const found = [];
  for (let number = Math.floor(months / step) * step; ; number += step) {
    const at = Date.UTC(Math.floor(number / 12), number % 12, 1);
    if (at > to) return found;
    const january = number % 12 === 0;
    if (at >= from)
      found.push({
        value: at,
        label: january ? String(Math.floor(number / 12)) : MONTHS[number % 12],
        strong: january && step < 12,
      });
  }
}
