// What an answer could be drawn as: lines over its column of time, or a bar for each of its categories.

import { isNumeric } from "../base/table.js";
import { gap } from "../chart/series.js";
import { preferredColumn } from "../dataset/choices.js";

const MOST_SERIES = 8;
export const MOST_BARS = 40;
// So many columns of numbers are drawn together by themselves.
const TOGETHER = 3;
const RAW = { unit: "raw", size: 1, ms: 0, label: "single rows" };

const isTime = (type) => /^(timestamp|date)/i.test(type);
const isLabel = (type) => /^(string|varchar|bool|enum|uuid)/i.test(type);

// { time, label, numbers, kinds, usual: {kind, columns} }: columns by what they could be, and what is drawn unless somebody
// chooses. `kinds`: none, or one or both of line and bars.
export function shapeOf({ columns, rows }) {
  const time = columns.find((one) => isTime(one.type)) ?? null;
  let numbers = columns.filter((one) => isNumeric(one.type));
  let label = columns.find((one) => isLabel(one.type)) ?? null;
  if (!time && !label && numbers.length > 1) [label, ...numbers] = numbers;
  const several = rows.length > 1 && numbers.length > 0;
  const kinds = [...(time && several ? ["line"] : []), ...((label ?? time) && several ? ["bars"] : [])];
  return { time, label, numbers, kinds, usual: usual({ time, label, numbers, kinds, rows }) };
}

function usual({ time, label, numbers, kinds, rows }) {
  const names = numbers.map((one) => one.name);
  const best = numbers.length ? preferredColumn(numbers, { partitionBy: [], keys: [] }).name : null;
  if (kinds.includes("line") && new Set(rows.map((row) => row[time.name])).size > 1)
    return { kind: "line", columns: names.length > TOGETHER ? [best] : names };
  const apart = label && new Set(rows.map((row) => row[label.name])).size === rows.length;
  return kinds.includes("bars") && apart && rows.length <= MOST_BARS
    ? { kind: "bars", columns: [best] }
    : { kind: "none", columns: [] };
}

// What the address asks for, as far as the answer allows it: line:temp,dewp · bars:n · none.
export function chosen(shape, text) {
  const [kind, names = ""] = (text ?? "").split(":");
  if (kind === "none") return { kind, columns: [] };
  if (!shape.kinds.includes(kind)) return shape.usual;
  const known = new Set(shape.numbers.map((one) => one.name));
  const wanted = names
    .split(",")
    .map(decoded)
    .filter((name) => known.has(name));
  if (wanted.length) return { kind, columns: kind === "bars" ? wanted.slice(0, 1) : wanted };
  return { kind, columns: shape.usual.columns.length ? shape.usual.columns : [shape.numbers[0].name] };
}

export const written = ({ kind, columns }) => (kind === "none" ? kind : `${kind}:${columns.map(encodeURIComponent).join(",")}`);

// Lines as a chart draws them: of each column, and of each value of the column that tells rows of one moment apart.
export function lines({ rows }, { time, label, numbers }, columns) {
  const known = rows.filter((row) => row[time.name] !== null);
  const apart = label && new Set(known.map((row) => row[time.name])).size < known.length;
  const groups = apart ? Map.groupBy(known, (row) => row[label.name]) : new Map([[null, known]]);
  const most = Math.max(1, Math.floor(MOST_SERIES / columns.length));
  const largest = [...groups].sort((a, b) => b[1].length - a[1].length);
  const shown = largest.slice(0, most).sort((a, b) => String(a[0]).localeCompare(String(b[0]), "en", { numeric: true }));
  const series = shown.flatMap(([group, members]) =>
    columns.slice(0, MOST_SERIES).map((column) => {
      const points = members.map((row) => ({ t: moment(row[time.name]), v: number(row[column]), lo: null, hi: null, n: 1 }));
      points.sort((a, b) => a.t - b.t);
      const name = !apart ? column : columns.length > 1 ? `${group} · ${column}` : String(group);
      const unit = numbers.find((one) => one.name === column)?.unit ?? "";
      return { name, unit, points, gap: gap(points, RAW) };
    }),
  );
  return { grain: RAW, series, others: largest.length - shown.length };
}

// [{name, value}] in the order of the answer.
export function bars({ rows }, { label, time }, column) {
  const of = (label ?? time).name;
  return rows
    .slice(0, MOST_BARS)
    .map((row) => ({ name: row[of] === null ? "null" : String(row[of]), value: number(row[column]) }));
}

// A number that JSON can't hold exactly comes as text; a missing one stays null.
const number = (value) => (value === null || value === undefined ? null : Number(value));

// Times without a zone are UTC.
const moment = (text) => Date.parse(/^\d{4}-\d\d-\d\dT[\d:.]+$/.test(text) ? `${text}Z` : text);

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
