// Who or what changed the dataset, the newest first: each row of the audit as a sentence.

import { get, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { moment, parse } from "../base/format.js";
import { factTable } from "../base/table.js";

const PAGE = 50;
const HEADS = [["When", "time"], ["What"], ["Version", "number"]];

export class HistoryTab {
  constructor(view) {
    Object.assign(this, { view, rows: [], next: null, action: "" });
    this.actions = new Set();
    this.choice = el("select", { id: "history-action", onchange: () => [(this.action = this.choice.value), this.load()] });
    this.partition = el("input", {
      id: "history-partition",
      type: "search",
      maxlength: 40,
      placeholder: "any",
      onchange: () => this.load(),
    });
    this.body = el("div", { id: "history" }, note("Loading…"));
    this.controls = el(
      "div",
      { class: "controls" },
      el("label", { class: "field" }, el("span", {}, "What"), this.choice),
      el("label", { class: "field" }, el("span", {}, "Partition"), this.partition),
    );
    this.root = el("section", { class: "card", "aria-label": "History" }, this.controls, this.body);
  }

  look({ changed }) {
    if (changed) return this.load();
    return undefined;
  }

  async load(more = false) {
    const key = this.partition.value.trim();
    const query = new URLSearchParams({
      dataset: this.view.dataset.name,
      limit: PAGE,
      ...(this.action ? { action: this.action } : {}),
      ...(key ? { partition: key } : {}),
      ...(more ? { cursor: this.next } : {}),
    });
    this.root.classList.remove("bare");
    try {
      const page = await get(`/admin/audit?${query}`);
      this.rows = more ? [...this.rows, ...page.rows] : page.rows;
      this.next = page.nextCursor;
      return this.draw();
    } catch (error) {
      this.root.classList.toggle("bare", error.status === 403);
      if (error.status === 403) return show(this.body, note("Looking at it needs an administrator’s token."));
      return show(this.body, note(words(error), "error"));
    }
  }

  draw() {
    for (const one of this.rows) this.actions.add(one.action);
    const option = (name) => el("option", { value: name, selected: name === this.action }, name.replaceAll("_", " ") || "any");
    show(this.choice, ["", ...[...this.actions].sort()].map(option));
    const more = this.next ? el("button", { type: "button", class: "more", onclick: () => this.load(true) }, "Show more") : null;
    show(this.body, this.rows.length ? factTable("History", HEADS, this.rows.map(row)) : note("Nothing of that kind."), more);
  }
}

// Nobody reads 64 digits; who wants to compare them finds them all in the title.
const DIGEST = /\b([0-9a-f]{32,})\b/;
const SHOWN_DIGITS = 12;

function shortened(summary) {
  return summary.split(DIGEST).map((part, i) => (i % 2 ? el("code", { title: part }, `${part.slice(0, SHOWN_DIGITS)}…`) : part));
}

// Who asked for a change and who allowed it, where the sentence does not say so itself.
function approval({ summary, details }) {
  const { ticket, approved_by: approver } = { ...details.cause, ...details };
  const missing = [ticket, approver && `approved by ${approver}`].filter((one) => one && !summary.includes(one));
  return missing.length ? ` (${missing.join(", ")})` : null;
}

function row(one) {
  const version = one.manifestVersion === null ? "–" : String(one.manifestVersion);
  return [moment(Math.floor(parse(one.at) / 1000) * 1000), el("span", { class: "breakable" }, shortened(one.summary), approval(one)), version];
}
