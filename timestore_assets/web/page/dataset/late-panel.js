// How many records came after their partition was closed, by how late they were, and which partitions they came to last.

import { datasetPath, get, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { ago, count, lasting, parse } from "../base/format.js";
import { factTable } from "../base/table.js";

const PARTITIONS = 10_000;
const WAYS = ["corrected", "dropped", "held"];
const HEADS = [["How late"], ["Corrected", "number"], ["Dropped", "number"], ["Held", "number"], ["Partitions", "number"], ["Last"]];

export class LatePanel {
  constructor(view) {
    this.view = view;
    this.body = el("div", { id: "late" });
    const hint = "Counted from when their partition was closed. What is corrected landed, and its partition is built again.";
    this.root = el(
      "section",
      { class: "card", "aria-labelledby": "late-title", hidden: true },
      el("h2", { id: "late-title" }, "Came late"),
      el("p", { class: "hint" }, hint),
      this.body,
    );
  }

  async load() {
    try {
      const { late, nextCursor } = await get(datasetPath(this.view.dataset.name, `/late?limit=${PARTITIONS}`));
      this.root.hidden = !late.length;
      const more = nextCursor ? note(`Of the first ${count(PARTITIONS)} partitions that records came late to.`) : null;
      show(this.body, factTable("Late records", HEADS, steps(late).map(row)), more);
    } catch (error) {
      this.root.hidden = false;
      show(this.body, note(words(error), "error"));
    }
  }
}

// The ledger's cells by how late they are, the least first.
function steps(late) {
  const found = new Map();
  for (const one of late) found.set(one.belowSeconds, [...(found.get(one.belowSeconds) ?? []), one]);
  return [...found.entries()].sort(([one], [other]) => one - other).map(([, cells]) => cells);
}

function row(cells) {
  const [{ atLeastSeconds, belowSeconds }] = cells;
  const sum = (way) => cells.reduce((total, one) => total + (one.disposition === way ? one.rows : 0), 0);
  const last = cells.reduce((latest, one) => (one.lastAt > latest.lastAt ? one : latest));
  return [
    atLeastSeconds ? `${lasting(atLeastSeconds)} to ${lasting(belowSeconds)}` : `less than ${lasting(belowSeconds)}`,
    ...WAYS.map((way) => count(sum(way) || null)),
    count(new Set(cells.map((one) => one.partition)).size),
    `${ago(parse(last.lastAt))}, to ${last.partition}`,
  ];
}
