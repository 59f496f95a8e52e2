// Records that are held for being late: by batch, with their first records, and the two ways to decide about them.

import { datasetPath, get, post, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { count, lasting, moment, parse, plural } from "../base/format.js";
import { factTable } from "../base/table.js";
import { totals } from "./tiles.js";

const SHOWN = 50;
const PREVIEW = 120;
const PARTITIONS = 4;
const HEADS = [["Batch"], ["Records", "number"], ["Partitions"], ["First records"], ["Held at", "time"], ["Decide"]];

export class HeldPanel {
  constructor(view, decided) {
    Object.assign(this, { view, decided });
    this.body = el("div", { id: "held" });
    this.said = el("div", { "aria-live": "polite" });
    this.all = el("div", { class: "controls" });
    const hint = "What is accepted lands, each record once, and its partition is built again. What is refused stays a dead letter.";
    this.root = el(
      "section",
      { class: "card", "aria-labelledby": "held-title", hidden: true },
      el("h2", { id: "held-title" }, "Held for being late"),
      el("p", { class: "hint" }, hint),
      this.all,
      this.said,
      this.body,
    );
  }

  async load() {
    const held = totals(this.view.status).held;
    this.root.hidden = !held && !this.said.firstChild;
    if (!held) return show(this.body), show(this.all);
    try {
      const path = datasetPath(this.view.dataset.name, `/late/held?limit=${SHOWN}`);
      const page = await get(`/admin${path}`);
      return this.draw(page);
    } catch (error) {
      const needed = `${plural(held, "record")} held. Looking at them needs an administrator’s token.`;
      return show(this.body, error.status === 403 ? note(needed) : note(words(error), "error"));
    }
  }

  draw({ held, batches }) {
    const more = batches > held.length ? note(`${plural(batches - held.length, "batch", "batches")} more, newer than these.`) : null;
    show(this.all, el("span", { class: "grow" }), this.buttons("all", {}));
    show(this.body, factTable("Held records", HEADS, held.map((one) => this.row(one))), more);
  }

  row(one) {
    return [
      el("span", {}, el("code", {}, String(one.batch)), el("span", { class: "hint" }, ` ${one.source}`)),
      count(one.records),
      el("span", {}, places(one.partitions)),
      el("div", {}, one.samples.map(sample)),
      moment(Math.floor(parse(one.heldAt) / 1000) * 1000),
      el("span", { class: "named" }, this.buttons("", { batches: [one.batch] }, `batch ${one.batch}`)),
    ];
  }

  buttons(all, wish, which = "all") {
    const button = (verb, label, kind) =>
      el(
        "button",
        { type: "button", class: kind, "aria-label": `${label} ${which}`, onclick: () => this.decide(verb, wish) },
        all ? `${label} ${all}` : label,
      );
    return [button("accept", "Accept", "primary"), button("refuse", "Refuse", "")];
  }

  async decide(verb, wish) {
    for (const button of this.root.querySelectorAll("button")) button.disabled = true;
    show(this.said, note(verb === "accept" ? "Landing…" : "Refusing…"));
    try {
      const done = await post(`/admin${datasetPath(this.view.dataset.name, `/late/${verb}`)}`, wish);
      show(this.said, note(verb === "accept" ? landed(done) : `${plural(done.lateDropped, "record")} refused.`, "good"));
      await this.view.refresh();
    } catch (error) {
      show(this.said, note(words(error), "error"));
    }
    await this.load();
    await this.decided();
  }
}

function landed(report) {
  const rest = report.refused ? `, ${count(report.refused)} held still (${Object.keys(report.reasons).join(", ")})` : "";
  const problems = Object.entries(report.problems).map(([text, files]) => ` ${plural(files, "batch", "batches")} left: ${text}.`);
  return `${plural(report.landed, "record")} landed${rest}.${problems.join("")}`;
}

function places(partitions) {
  if (!partitions.length) return "not noted";
  const shown = partitions.slice(0, PARTITIONS).map((one) => `${one.partition} (${count(one.rows)})`);
  const more = partitions.length > PARTITIONS ? [`and ${count(partitions.length - PARTITIONS)} more`] : [];
  const latest = Math.max(...partitions.map((one) => one.belowSeconds));
  return [[...shown, ...more].join(", "), el("span", { class: "hint" }, ` up to ${lasting(latest)} late`)];
}

function sample(text) {
  const shown = text.length > PREVIEW ? `${text.slice(0, PREVIEW)}…` : text;
  return el("div", {}, el("code", { class: "record" }, shown));
}
