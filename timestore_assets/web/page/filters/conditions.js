// A condition on a column: how it stands in an address, in words, and in a question to the service.

import { isNumeric } from "../base/table.js";

export const OPERATORS = {
  eq: { words: "is", sign: "=" },
  ne: { words: "is not", sign: "≠" },
  in: { words: "is one of", sign: "in", many: true },
  contains: { words: "contains", sign: "contains" },
  startsWith: { words: "begins with", sign: "begins with" },
  lt: { words: "is below", sign: "<" },
  lte: { words: "is at most", sign: "≤" },
  gt: { words: "is above", sign: ">" },
  gte: { words: "is at least", sign: "≥" },
  between: { words: "is between", sign: "between", many: true },
  isNull: { words: "is null", sign: "is null", none: true },
  isNotNull: { words: "is not null", sign: "is not null", none: true },
};
const TEXT = ["eq", "ne", "in", "contains", "startsWith", "isNull", "isNotNull"];
const ORDERED = ["eq", "ne", "lt", "lte", "gt", "gte", "between", "in", "isNull", "isNotNull"];

export function operatorsOf(type) {
  if (type === "string") return TEXT;
  if (type === "bool") return ["eq", "isNull", "isNotNull"];
  if (isNumeric(type) || /^(timestamp|date)/.test(type)) return ORDERED;
  return ["isNull", "isNotNull"];
}

// station:in:JFK,LGA
export function writeFilter({ column, op, values }) {
  return [column, op, values.map((one) => encodeURIComponent(one)).join(",")]
    .map((part, i) => (i ? part : encodeURIComponent(part)))
    .join(":");
}

export function readFilter(text) {
  const [column, op, ...rest] = text.split(":");
  if (!OPERATORS[op]) return null;
  try {
    const values = OPERATORS[op].none ? [] : rest.join(":").split(",").map(decodeURIComponent);
    return { column: decodeURIComponent(column), op, values };
  } catch {
    return null;
  }
}

export function inWords({ column, op, values }) {
  const { sign } = OPERATORS[op];
  const joined = op === "between" ? values.join(" and ") : values.join(", ");
  return values.length ? `${column} ${sign} ${joined}` : `${column} ${sign}`;
}

// As the service takes it. A value that is none of its column's type goes as it is: the service says so in words.
export function asked(filters, columns) {
  return filters.map(({ column, op, values }) => {
    const type = columns.find((one) => one.name === column)?.type ?? "string";
    const typed = values.map((one) => value(one, type));
    if (OPERATORS[op].none) return { column, op };
    return OPERATORS[op].many ? { column, op, values: typed } : { column, op, value: typed[0] };
  });
}

function value(text, type) {
  if (type === "bool") return text === "true" ? true : text === "false" ? false : text;
  if (/^decimal/.test(type)) return text.trim();
  if (!isNumeric(type)) return text;
  const number = Number(text);
  return text.trim() !== "" && Number.isFinite(number) ? number : text;
}
