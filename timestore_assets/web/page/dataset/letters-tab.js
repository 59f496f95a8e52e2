// Records that were refused, with the reason and their original bytes, and the way to try them again; above them what is held.

import { datasetPath, get, post, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { count, moment, parse, plural } from "../base/format.js";
import { factTable } from "../base/table.js";
import { HeldPanel } from "./held-panel.js";
import { totals } from "./tiles.js";

const PAGE = 50;
const PREVIEW = 160;
const HEADS = [["Reason"], ["Column"], ["Source"], ["Record"], ["Refused at", "time"]];

export class LettersTab {
  constructor(view) {
    Object.assign(this, { view, letters: [], next: null, code: "" });
    this.codes = new Set();
    this.choice = el("select", { id: "letter-code", onchange: () => [(this.code = this.choice.value), this.load()] });
    this.replay = el("button", { type: "button", class: "primary", onclick: () => this.tryAgain() }, "Replay");
    this.said = el("div", { "aria-live": "polite" });
    this.body = el("div", { id: "deadletters" });
    const hint = "A replay judges them by the declaration as it is now; what fits lands, each record once.";
    this.controls = el(
      "div",
      { class: "controls" },
      el("label", { class: "field" }, el("span", {}, "Reason"), this.choice),
      el("span", { class: "grow" }),
      this.replay,
    );
    this.card = el(
      "section",
      { class: "card", "aria-label": "Dead letters" },
      this.controls,
      el("p", { class: "hint" }, hint),
      this.said,
      this.body,
    );
    this.held = new HeldPanel(view, () => this.load());
    this.root = el("div", { class: "stack" }, this.held.root, this.card);
  }

  look({ changed }) {
    if (changed) return Promise.all([this.held.load(), this.load()]);
    return undefined;
  }

  async load(more = false) {
    const { name } = this.view.dataset;
    const total = totals(this.view.status).deadLetters;
    this.card.classList.toggle("bare", !total);
    if (!total) return show(this.body, note("No record was refused."));
    const query = new URLSearchParams({
      limit: PAGE,
      ...(this.code ? { code: this.code } : {}),
      ...(more ? { cursor: this.next } : {}),
    });
    try {
      const page = await get(`/admin${datasetPath(name, `/deadletters?${query}`)}`);
      this.letters = more ? [...this.letters, ...page.deadLetters] : page.deadLetters;
      this.next = page.nextCursor;
      return this.draw();
    } catch (error) {
      this.card.classList.add("bare");
      if (error.status === 403)
        return show(this.body, note(`${count(total)} refused. Looking at them needs an administrator’s token.`));
      return show(this.body, note(words(error), "error"));
    }
  }

  draw() {
    for (const one of this.letters) this.codes.add(one.code);
    const option = (code) => el("option", { value: code, selected: code === this.code }, code || "any");
    show(this.choice, ["", ...[...this.codes].sort()].map(option));
    this.replay.textContent = this.code ? `Replay ${this.code}` : "Replay all";
    const more = this.next ? el("button", { type: "button", class: "more", onclick: () => this.load(true) }, "Show more") : null;
    const table = factTable("Dead letters", HEADS, this.letters.map(row));
    show(this.body, this.letters.length ? table : note("None is left: what was refused has landed by a replay since."), more);
  }

  async tryAgain() {
    this.replay.disabled = true;
    show(this.said, note("Replaying…"));
    try {
      const path = `/admin${datasetPath(this.view.dataset.name, "/deadletters/replay")}`;
      const report = await post(path, this.code ? { code: this.code } : {});
      show(this.said, note(outcome(report), report.landed ? "good" : "quiet"));
      await this.view.refresh();
      await this.load();
    } catch (error) {
      show(this.said, note(words(error), "error"));
    } finally {
      this.replay.disabled = false;
    }
  }
}

function outcome(report) {
  if (!report.records) return "There was nothing that a replay could try.";
  const still = Object.entries(report.reasons).map(([code, number]) => `${count(number)} ${code}`);
  const problems = Object.entries(report.problems).map(
    ([text, files]) => ` ${plural(files, "file")} left as they were: ${text}.`,
  );
  const rest = report.refused ? `, ${count(report.refused)} refused still (${still.join(", ")})` : "";
  return `${plural(report.records, "record")} tried: ${count(report.landed)} landed${rest}.${problems.join("")}`;
}

function row(one) {
  const reason = el("span", {}, el("code", {}, one.code), ` ${one.reason}`);
  const place = one.line ? `, line ${count(one.line)}` : "";
  return [
    reason,
    one.column ? el("code", {}, one.column) : "–",
    el("span", { class: "breakable" }, el("code", {}, one.source), place),
    record(one),
    moment(Math.floor(parse(one.recordedAt) / 1000) * 1000),
  ];
}

function record(one) {
  const { text: plain, base64 } = one.raw;
  const text = plain ?? (base64 === null ? "not kept" : `base64: ${base64}`);
  const note = one.isPrefix ? el("p", { class: "hint" }, "Only its beginning was kept.") : null;
  if (text.length <= PREVIEW) return el("div", {}, el("code", { class: "record" }, text), note);
  const head = el("summary", {}, el("code", { class: "record" }, `${text.slice(0, PREVIEW)}…`));
  return el("details", { class: "whole" }, head, el("pre", { tabindex: 0 }, text), note);
}
