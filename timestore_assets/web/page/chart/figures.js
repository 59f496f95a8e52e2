// Which figure of a bucket a chart draws, by its name in the address.

export const FIGURES = [
  { fn: "avg", label: "mean" },
  { fn: "min", label: "lowest" },
  { fn: "max", label: "highest" },
  { fn: "median", label: "median" },
  { fn: "p95", label: "95th percentile" },
  { fn: "sum", label: "sum" },
  { fn: "count", label: "number of values" },
  { fn: "first", label: "first" },
  { fn: "last", label: "last" },
];
// Of a single row they are its value.
export const RAW_FIGURES = new Set(["avg", "min", "max", "median", "p95", "first", "last"]);
const PERCENTILE = /^p(\d{1,2}(?:\.\d+)?)$/;

export const isFigure = (fn) => FIGURES.some((one) => one.fn === fn) || PERCENTILE.test(fn);

export const labelOf = (fn) => FIGURES.find((one) => one.fn === fn)?.label ?? `${fn.slice(1)}th percentile`;

export function aggregation(fn, column, alias) {
  const percentile = PERCENTILE.exec(fn);
  return percentile ? { fn: "percentile", percentile: Number(percentile[1]), column, alias } : { fn, column, alias };
}

// Units of what a panel draws: of each of its columns, and the one of all of them where they share it. Of a count the
// column's unit says nothing.
export function unitsOf({ fn, columns: names }, columns) {
  const units = names.map((name) => (fn === "count" ? "" : (columns.find((one) => one.name === name)?.unit ?? "")));
  return { units, unit: new Set(units).size === 1 ? units[0] : "" };
}
