// What a chart shows of a dataset as long as nobody chose: which column, told apart by what, over which range.

import { isFigure } from "../chart/figures.js";
import { estimate } from "../chart/grain.js";

const NUMERIC = /^(int|float|double|decimal)/;
const GROUPED = /^(string|bool|int32)/;
// Units of numbers that are written like numbers and are none: clock times and calendar dates.
const CLOCK = /^(h{1,2}:?mm(:?ss)?|y{2,4}([-/]?mm([-/]?dd)?)?|mmdd|epoch.*|unix.*)$/i;
// Names of what is counted, named or located, and not measured.
const LABELS =
  /(^|_)(id|no|nr|num|number|code|zip|year|month|day|week|hour|minute|second|quarter|dow|doy|lat|lon|lng|latitude|longitude)$/i;
const SECOND = 1000;
// A first look over more rows than these would keep the reader waiting; it begins with the newest partitions.
const FIRST_LOOK_ROWS = 5_000_000;

const isNumber = (column) => NUMERIC.test(column.type);

// What can be drawn: numbers, or how many rows there are where there are none.
export function drawnColumns(dataset) {
  const numbers = dataset.columns.filter(isNumber);
  return numbers.length ? numbers : dataset.columns.filter((one) => one.name === dataset.time);
}

export function groupColumns(dataset) {
  const names = dataset.columns.filter((one) => GROUPED.test(one.type)).map((one) => one.name);
  return [...new Set([...dataset.partitionBy.filter((name) => names.includes(name)), ...names])];
}

// Measured values first: those with a unit that can be averaged, then fractions; labels, clocks and keys come last.
export function preferredColumn(columns, dataset) {
  const score = (one) => {
    const label =
      LABELS.test(one.name) || CLOCK.test(one.unit) || dataset.partitionBy.includes(one.name) || dataset.keys.includes(one.name);
    return (label ? -4 : 0) + (one.unit && !CLOCK.test(one.unit) ? 2 : 0) + (one.type.startsWith("int") ? 0 : 1);
  };
  return columns.reduce((best, one) => (score(one) > score(best) ? one : best));
}

// Panels that make sense for the dataset: those of the address, else what was chosen before, else one of the best column.
export function panelsFor(dataset, columns, wanted, remembered) {
  const names = new Set(columns.map((one) => one.name));
  const numbers = new Set(columns.filter(isNumber).map((one) => one.name));
  const figure = (fn, chosen) => (!chosen.every((name) => numbers.has(name)) ? "count" : isFigure(fn) ? fn : "avg");
  const usable = (panels) =>
    (Array.isArray(panels) ? panels : [])
      .map((one) => ({ fn: one.fn, columns: (one.columns ?? []).filter((name) => names.has(name)) }))
      .filter((one) => one.columns.length)
      .map((one) => ({ ...one, fn: figure(one.fn, one.columns) }));
  for (const panels of [usable(wanted), usable(remembered)]) if (panels.length) return panels;
  return usable([{ fn: "avg", columns: [preferredColumn(columns, dataset).name] }]);
}

// From the oldest to the newest row; [null, null] when there are none.
export function wholeRange(partitions) {
  const filled = partitions.filter((one) => one.newest !== null);
  if (!filled.length) return [null, null];
  const oldest = filled.reduce((first, one) => Math.min(first, one.oldest), Infinity);
  const newest = filled.reduce((last, one) => Math.max(last, one.newest), -Infinity);
  return [oldest, Math.floor(newest / SECOND + 1) * SECOND];
}

// The whole range; of very large datasets the newest partitions.
export function firstRange(partitions) {
  const [oldest, end] = wholeRange(partitions);
  if (oldest === null || estimate(partitions, oldest, end) <= FIRST_LOOK_ROWS) return [oldest, end];
  let rows = 0;
  const recent = partitions.toReversed().filter((one) => (rows += one.rows) <= FIRST_LOOK_ROWS);
  return [(recent.at(-1) ?? partitions.at(-1)).from, end];
}
