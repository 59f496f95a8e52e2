// What schema versions ask to be rewritten: why, what it costs, how far it is. An administrator decides.

import { datasetPath, get, post, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { bytes, count, plural } from "../base/format.js";
import { factTable } from "../base/table.js";
import { span } from "./alert-words.js";

const HEADS = [["Why"], ["Holds", "number"], ["Estimate", "number"], ["Progress"], ["State"]];

export const openBackfills = async (name) => (await get(datasetPath(name, "/backfills"))).backfills;

export class BackfillsPanel {
  constructor(view) {
    Object.assign(this, { view, shown: null });
    this.said = el("div", { "aria-live": "polite" });
    this.list = el("div", { id: "backfills" });
    this.root = el(
      "section",
      { class: "card", "aria-labelledby": "backfills-title", hidden: true },
      el("h2", { id: "backfills-title" }, "Backfills"),
      this.said,
      this.list,
    );
  }

  // Shows those that the view has by now; a card without any stays only for what was said last.
  draw() {
    const { backfills } = this.view;
    const text = JSON.stringify(backfills);
    if (text === this.shown) return;
    this.shown = text;
    this.root.hidden = !backfills.length && !this.said.hasChildNodes();
    const rows = backfills.map((one) => this.row(one));
    show(this.list, rows.length ? factTable("Backfills", HEADS, rows) : null);
  }

  row(one) {
    const { partitions, rows, bytes: size, seconds, basis } = one.cost;
    const holds = rows === null ? "–" : `${plural(rows, "row")}, ${bytes(size)}`;
    const estimate = seconds === null ? "–" : el("span", { title: basis }, seconds < 1 ? "< 1 s" : span(seconds * 1000));
    const about = `schema version ${count(one.schemaVersion)}${partitions ? `, ${plural(partitions, "partition")}` : ""}`;
    const typed = one.commands.map((line) => el("code", { class: "typed" }, line));
    const why = sentence(one.why);
    return [
      el("span", { class: "backfill-why" }, el("span", {}, why), el("span", { class: "hint" }, about), typed),
      holds,
      estimate,
      el(
        "span",
        { class: "backfill-progress" },
        el("progress", { max: Math.max(1, one.of), value: one.done, "aria-label": `Progress: ${one.summary}` }),
        one.summary,
      ),
      el("span", { class: "decisions" }, STATES[one.state] ?? one.state, this.buttons(one)),
    ];
  }

  buttons(one) {
    if (!this.view.session?.isAdmin) return [];
    const button = (label, verb) => {
      const made = el("button", { type: "button", "aria-label": `${label} backfill ${one.id}` }, label);
      made.addEventListener("click", () => this.decide(one, verb, made));
      return made;
    };
    const refuse = button(one.state === "asked" ? "Refuse" : "Stop", "refuse");
    return one.state === "asked" ? [button("Approve", "approve"), refuse] : [refuse];
  }

  async decide({ id }, verb, button) {
    if (button.getAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    const { name } = this.view.dataset;
    try {
      const { backfill } = await post(datasetPath(name, `/backfills/${id}/${verb}`), {});
      show(this.said, note(`Backfill ${id} is ${backfill.state}.`, backfill.state === "approved" ? "good" : "quiet"));
      this.view.backfills = await openBackfills(name);
    } catch (error) {
      show(this.said, note(words(error), "error"));
    } finally {
      button.removeAttribute("aria-disabled");
    }
    this.shown = null;
    this.draw();
    this.view.showLinks();
  }
}

const STATES = { asked: "asked for", approved: "approved" };

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
