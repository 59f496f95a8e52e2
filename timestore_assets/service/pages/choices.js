// What a chart shows of a dataset as long as nobody chose: which column, told apart by what, over which range.

import { estimate } from "./grain.js";

const NUMERIC = /^(int|float|double|decimal)/;
const GROUPED = /^(string|bool|int32)/;
const SECOND = 1000;
// A first look over more rows than these would keep the reader waiting; it begins with the newest partitions.
const FIRST_LOOK_ROWS = 5_000_000;

export const numberColumns = (dataset) => dataset.columns.filter((one) => NUMERIC.test(one.type));

export function groupColumns(dataset) {
  const names = dataset.columns.filter((one) => GROUPED.test(one.type)).map((one) => one.name);
  return [...new Set([...dataset.partitionBy.filter((name) => names.includes(name)), ...names])];
}

// Measured values have units or fractions; years, months and ids are rarely what somebody wants to see first.
export function preferredColumn(columns, dataset) {
  const free = columns.filter((one) => !dataset.partitionBy.includes(one.name));
  return free.find((one) => one.unit) ?? free.find((one) => !one.type.startsWith("int")) ?? free[0] ?? columns[0];
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
