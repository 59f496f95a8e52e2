// Where a dataset's records come from and what became of them.

import { el, note, show } from "../base/dom.js";
import { compact, count, moment, parse } from "../base/format.js";
import { factTable } from "../base/table.js";
import { feeding } from "./feeding.js";

const HEADS = [
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

export class SourcesTab {
  constructor(view) {
    this.view = view;
    this.body = el("div", { id: "sources" });
    this.root = el("section", { class: "card", "aria-label": "Sources" }, this.body);
  }

  look() {
    const { sources } = this.view.status;
    const told = new Set(sources.map((one) => one.source));
    const quiet = this.view.dataset.sources.filter((one) => !told.has(`${one.kind}:${one.address}`));
    const waiting = quiet.length
      ? el(
          "p",
          { class: "quiet" },
          "Declared, nothing came from it yet: ",
          quiet.map((one, i) => [i ? ", " : "", el("code", {}, `${one.kind} ${one.address}`)]).flat(),
        )
      : null;
    const found = sources.length
      ? factTable("Sources", HEADS, sources.map(row))
      : note("No record has come from any source yet.");
    show(
      this.body,
      found,
      waiting,
      !sources.length && this.view.partitions.length && !this.view.dataset.retired
        ? feeding(this.view.dataset, this.view.session)
        : null,
    );
  }
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
