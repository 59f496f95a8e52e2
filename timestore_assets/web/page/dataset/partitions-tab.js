// A dataset's partitions: what is to be rewritten, a calendar of states, and figures, with what came late to them. A click looks
// at the rows of one.

import { el, note, show } from "../base/dom.js";
import { bytes, count, moment } from "../base/format.js";
import { factTable } from "../base/table.js";
import { address, go, read } from "../frame/route.js";
import { BackfillsPanel } from "./backfills-panel.js";
import { CalendarPanel } from "./calendar.js";
import { LatePanel } from "./late-panel.js";

const PAGE = 100;
const HEADS = [
  ["Partition"],
  ["State"],
  ["Rows", "number"],
  ["Size", "number"],
  ["Segments", "number"],
  ["Not built", "number"],
  ["Schema", "number"],
  ["Newest row", "time"],
];

export class PartitionsTab {
  constructor(view) {
    Object.assign(this, { view, shown: PAGE });
    this.calendar = new CalendarPanel({ tip: view.tip, chosen: (one) => go({ ...read(), ...windowOf(one) }) });
    this.backfills = new BackfillsPanel(view);
    this.list = el("div", { id: "partition-list" });
    this.late = new LatePanel(view);
    this.root = el(
      "div",
      { class: "stack" },
      this.backfills.root,
      this.calendar.root,
      this.late.root,
      el(
        "section",
        { class: "card", "aria-labelledby": "figures-title" },
        el("h2", { id: "figures-title" }, "Newest first"),
        this.list,
      ),
    );
  }

  look({ changed }) {
    this.backfills.draw();
    if (!changed) return undefined;
    const { partitions, dataset } = this.view;
    this.calendar.load(partitions, dataset.window);
    this.calendar.mark(read().from, read().to);
    this.draw();
    return this.late.load();
  }

  draw() {
    const { partitions } = this.view;
    if (!partitions.length) return show(this.list, note("None yet."));
    const rows = partitions.slice(-this.shown).reverse().map(row);
    const more = this.shown < partitions.length;
    const button = el("button", { type: "button", class: "more", onclick: () => [(this.shown *= 4), this.draw()] }, "Show more");
    return show(this.list, factTable("Partitions", HEADS, rows), more ? button : null);
  }
}

const windowOf = (one) => ({ tab: "chart", from: one.from, to: one.to, last: null });

function row(one) {
  const link = el("a", { href: address({ ...read(), ...windowOf(one), tab: "rows" }) }, one.partition);
  const state = el("span", { class: "state-name" }, el("span", { class: `swatch state ${one.state}` }), one.state);
  return [
    link,
    state,
    count(one.rows),
    bytes(one.bytes),
    count(one.segments),
    count(one.deltas),
    count(one.schemaVersion),
    moment(one.newest),
  ];
}
