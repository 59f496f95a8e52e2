// Where a dataset's records come from and what became of them, and the newest ones that were refused.

import { datasetPath, get, words } from "./api.js";
import { el, note, show } from "./dom.js";
import { compact, count, moment, parse } from "./format.js";

const LETTERS = 8;
const PREVIEW = 200;

function table(caption, heads, rows) {
  const head = el(
    "tr",
    {},
    heads.map(([label, kind]) => el("th", { scope: "col", class: kind }, label)),
  );
  const line = (cells) =>
    el(
      "tr",
      {},
      cells.map((cell, i) => el("td", { class: heads[i][1], "data-label": heads[i][0] }, cell)),
    );
  return el("table", {}, el("caption", { class: "hidden" }, caption), el("thead", {}, head), el("tbody", {}, rows.map(line)));
}

export function sourcesPanel() {
  const body = el("div", { id: "sources" });
  const root = el(
    "section",
    { class: "card", "aria-labelledby": "sources-title" },
    el("div", { class: "card-head" }, el("h2", { id: "sources-title" }, "Sources")),
    body,
  );
  const heads = [
    ["Source"],
    ["Read", "number"],
    ["Landed", "number"],
    ["Duplicates", "number"],
    ["Late", "number"],
    ["Held", "number"],
    ["Dead letters", "number"],
    ["Lag", "number"],
    ["Rows/s", "number"],
    ["Watermark", "time"],
  ];

  function load(status) {
    if (!status.sources.length) return show(body, note("This dataset has no source yet."));
    return show(body, table("Sources", heads, status.sources.map(row)));
  }

  function row(one) {
    const [kind, ...address] = one.source.split(":");
    const name = el(
      "span",
      {},
      el("span", { class: "kind" }, kind),
      el("code", {}, address.join(":")),
      one.paused ? el("span", { class: "badge bad", title: one.pausedReason ?? "" }, "paused") : null,
    );
    const letters = el("span", { class: one.deadLetters ? "warned" : "" }, count(one.deadLetters));
    const numbers = [one.read, one.landed, one.duplicates, one.lateDropped, one.held].map(count);
    return [
      name,
      ...numbers,
      letters,
      count(one.lag),
      one.rowsPerSecond ? compact(one.rowsPerSecond) : "0",
      moment(parse(one.watermark)),
    ];
  }

  return { root, load };
}

export function lettersPanel() {
  const body = el("div", { id: "deadletters" });
  const root = el(
    "section",
    { class: "card", "aria-labelledby": "letters-title" },
    el("div", { class: "card-head" }, el("h2", { id: "letters-title" }, "Recent dead letters")),
    body,
  );
  const heads = [["Reason"], ["Column"], ["Source"], ["Record"], ["Refused at", "time"]];

  async function load(dataset, total, limit = LETTERS) {
    if (!total) return show(body, note("No record was refused."));
    try {
      const found = await get(`/admin${datasetPath(dataset, `/deadletters?limit=${limit}`)}`);
      const more = found.nextCursor
        ? el("button", { type: "button", class: "more", onclick: () => load(dataset, total, limit * 4) }, "Show more")
        : null;
      return show(body, [table("Recent dead letters", heads, found.deadLetters.map(row)), more]);
    } catch (error) {
      if (error.status === 403)
        return show(body, note(`${count(total)} refused. Looking at them needs an administrator’s token.`));
      return show(body, note(words(error), "error"));
    }
  }

  function row(one) {
    const reason = el("span", {}, el("code", {}, one.code), ` ${one.reason}`);
    return [
      reason,
      one.column ? el("code", {}, one.column) : "–",
      el("code", {}, one.source),
      record(one),
      moment(parse(one.recordedAt)),
    ];
  }

  return { root, load };
}

function record(one) {
  const { text: plain, base64 } = one.raw;
  const text = plain ?? (base64 === null ? "not kept" : `base64: ${base64}`);
  return el("code", { class: "record", title: text }, text.length > PREVIEW ? `${text.slice(0, PREVIEW)}…` : text);
}
