// What came of running SQL: the rows some at a time, or the sentence that says what is wrong and where.

import { sentence } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { count, plural } from "../base/format.js";
import { rowTable } from "../base/table.js";
import { tokens } from "./tokens.js";

const PAGE = 200;

export function drawAnswer(parent, answer, ms) {
  let at = 0;
  const { rows, columns, whole } = answer;
  const table = el("div", {});
  const where = el("span", { class: "quiet" });
  const back = el("button", { type: "button", onclick: () => turn(-1) }, "← Back");
  const next = el("button", { type: "button", onclick: () => turn(1) }, "Next →");
  const versions = Object.entries(answer.manifestVersions ?? {}).map(([name, version]) => `${name} version ${version}`);
  const amount = whole ? plural(rows.length, "row") : `the first ${count(rows.length)} rows; a download has all`;
  const facts = [amount, `${count(Math.max(1, Math.round(ms)))} ms`, ...versions, ...(answer.warnings ?? [])].join(" · ");

  function turn(by) {
    at += by * PAGE;
    draw();
  }

  function draw() {
    [back.disabled, next.disabled] = [at === 0, at + PAGE >= rows.length];
    where.textContent = rows.length > PAGE ? `${count(at + 1)} – ${count(Math.min(at + PAGE, rows.length))}` : "";
    show(table, rows.length ? rowTable("Result", columns, rows.slice(at, at + PAGE)) : note("The answer has no rows."));
  }

  draw();
  const pager = rows.length > PAGE ? el("span", { class: "pager-inline" }, where, back, next) : null;
  show(
    parent,
    el("div", { class: "controls" }, el("p", { class: "facts", id: "sql-facts" }, facts), el("span", { class: "grow" }), pager),
    table,
  );
}

export function drawError(parent, error, text) {
  const place = placeOf(error.message, text);
  show(parent, note(sentence(error.message), "error"));
  return place;
}

// [from, to] in the text that a message is about: the line and column it tells, else the name in quotes, where it stands once.
export function placeOf(message, text) {
  const told = /\(line (\d+), column (\d+)\)/.exec(message);
  if (told) {
    const lines = text.split("\n");
    const from = lines.slice(0, told[1] - 1).reduce((sum, line) => sum + line.length + 1, 0) + Number(told[2]) - 1;
    const piece = tokens(text).find((one) => one.at <= from && from < one.at + one.text.length);
    return [from, piece ? piece.at + piece.text.length : from + 1];
  }
  const name = /["']([^"']+)["']/.exec(message)?.[1];
  const found = name
    ? tokens(text).filter((one) => /^(word|quoted|parameter)$/.test(one.kind) && one.text.replace(/^["$]|"$/g, "") === name)
    : [];
  return found.length ? [found[0].at, found[0].at + found[0].text.length] : null;
}
