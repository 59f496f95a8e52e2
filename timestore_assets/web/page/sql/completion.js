// What a word in SQL could become: columns of the datasets that the text reads, datasets, functions and keywords.

import { FUNCTIONS, KEYWORDS, tokens } from "./tokens.js";

const MOST = 12;
const PLAIN = /^[a-z_][a-z0-9_]*$/;
const AFTER_TABLE = new Set(["from", "join"]);

export const quoted = (name) => (PLAIN.test(name) && !KEYWORDS.has(name) ? name : `"${name.replaceAll('"', '""')}"`);

// { from, word, items: [{text, label, kind}] } for the place `at` in a text.
export function completions(text, at, datasets) {
  const pieces = tokens(text);
  const current = pieces.find((one) => one.at < at && one.at + one.text.length >= at && /^(word|keyword|quoted)$/.test(one.kind));
  const inside = pieces.find((one) => one.at < at && at < one.at + one.text.length && /^(string|comment)$/.test(one.kind));
  if (inside) return { from: at, word: "", items: [] };
  const word = current ? text.slice(current.at, at).replace(/^"/, "") : "";
  const from = current ? current.at : at;
  const before = pieces.filter((one) => one.at < from && one.kind !== "space" && one.kind !== "comment").at(-1);
  const pool = AFTER_TABLE.has(before?.text.toLowerCase()) ? tables(datasets) : everything(pieces, datasets);
  return { from, word, items: ranked(pool, word) };
}

const tables = (datasets) => datasets.map((one) => ({ text: quoted(one.name), label: one.name, kind: "dataset" }));

function everything(pieces, datasets) {
  const named = new Set(pieces.filter((one) => /^(word|quoted)$/.test(one.kind)).map((one) => one.text.replace(/^"|"$/g, "")));
  const read = datasets.filter((one) => named.has(one.name));
  const columns = new Map();
  for (const one of read) {
    for (const { name, type, unit } of one.columns)
      columns.set(name, { text: quoted(name), label: name, kind: unit ? `${type}, ${unit}` : type });
  }
  const functions = FUNCTIONS.map((name) => ({ text: `${name}(`, label: name, kind: "function" }));
  const keywords = [...KEYWORDS].map((name) => ({ text: name.toUpperCase(), label: name.toUpperCase(), kind: "keyword" }));
  return [...columns.values(), ...tables(datasets), ...functions, ...keywords];
}

// Those that begin with the word first, then those that hold it.
function ranked(pool, word) {
  const wanted = word.toLowerCase();
  const begins = pool.filter((one) => one.label.toLowerCase().startsWith(wanted) && one.label !== word);
  const holds = wanted.length > 1 ? pool.filter((one) => one.label.toLowerCase().indexOf(wanted) > 0) : [];
  return [...begins, ...holds].slice(0, MOST);
}
