// A file becomes a dataset: what it seems to hold is shown, and declared and landed once the reader agrees.

import { datasetPath, put, send, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { count, plural } from "../base/format.js";
import { factTable } from "../base/table.js";
import { address } from "../frame/route.js";

const WINDOWS = ["hour", "day", "week", "month", "year", "all"];
const HEADS = [["Column"], ["Type"], ["Missing", "number"], ["Example"], ["Remark"]];

export class UploadView {
  // `datasets()`: those that there are. `declared()`: there is another one now.
  constructor({ datasets, session, declared }) {
    Object.assign(this, { datasets, declared, file: null, proposal: null, wishes: {}, running: null });
    this.input = el("input", { type: "file", id: "file", onchange: () => this.take(this.input.files[0]) });
    this.drop = el(
      "section",
      { class: "card drop", "aria-label": "File" },
      el(
        "label",
        { for: "file" },
        "A file of records with a time in each: CSV, JSON, Parquet …, compressed or not. Choose it or drop it here.",
      ),
      this.input,
    );
    this.body = el("div", { id: "proposal", "aria-live": "polite" });
    const head = el(
      "header",
      { class: "head" },
      el("h1", {}, "Upload a file"),
      el("p", {}, "Nothing is declared or landed before you say so."),
    );
    const closed = session && !session.isAdmin ? note("Declaring a dataset needs an administrator’s token.", "error") : null;
    this.parts = [el("a", { class: "back", href: "#/" }, "← All datasets"), head, closed ?? this.drop, this.body];
    this.drop.addEventListener("dragover", (event) => event.preventDefault());
    this.drop.addEventListener("drop", (event) => [event.preventDefault(), this.take(event.dataTransfer.files[0])]);
  }

  take(file) {
    if (!file) return undefined;
    Object.assign(this, { file, wishes: {} });
    return this.propose();
  }

  async propose() {
    this.running?.abort();
    const { signal } = (this.running = new AbortController());
    show(this.body, note(`Looking at ${this.file.name} (${count(Math.ceil(this.file.size / 1000))} kB)…`));
    try {
      const query = new URLSearchParams({ file: this.file.name, ...this.wishes });
      this.proposal = await this.sendFile(`/admin/proposals?${query}`, signal);
      if (!signal.aborted) this.draw();
    } catch (error) {
      if (!signal.aborted) show(this.body, note(words(error), "error"));
    }
  }

  async sendFile(path, signal) {
    const headers = { "Content-Type": "application/octet-stream" };
    return (await send(path, { method: "POST", body: this.file, headers, signal })).json();
  }

  draw() {
    const { proposal } = this;
    const amount = proposal.complete ? plural(proposal.records, "record") : `its first ${plural(proposal.records, "record")}`;
    const rows = proposal.columns.map((one) => [
      el("code", {}, one.name),
      one.type,
      one.missing ? count(one.missing) : "–",
      el("code", { class: "record" }, one.example),
      one.note || "–",
    ]);
    this.said = el("div", { "aria-live": "polite" });
    show(
      this.body,
      el(
        "div",
        { class: "stack" },
        el(
          "section",
          { class: "card", "aria-label": "Proposal" },
          el("p", { class: "facts" }, `${this.file.name}: ${proposal.format}, ${amount}`),
          proposal.remarks.length
            ? el(
                "ul",
                { class: "remarks" },
                proposal.remarks.map((one) => el("li", {}, `${one.charAt(0).toUpperCase()}${one.slice(1)}.`)),
              )
            : null,
          this.form(),
          this.said,
        ),
        el("section", { class: "card", "aria-label": "Columns" }, factTable("Columns", HEADS, rows)),
        el(
          "details",
          { class: "card declaration" },
          el("summary", {}, "The declaration"),
          el("pre", { tabindex: 0 }, proposal.declaration),
        ),
      ),
    );
  }

  form() {
    const { proposal } = this;
    const again = (part) => [(this.wishes = { ...this.wishes, ...part }), this.propose()];
    const name = el("input", {
      id: "dataset-name",
      value: proposal.dataset,
      pattern: "[a-z][a-z0-9_]{0,62}",
      required: true,
      onchange: () => again({ name: name.value }),
    });
    const time = el(
      "select",
      { id: "dataset-time", onchange: () => again({ time: time.value }) },
      timesOf(proposal).map((one) => el("option", { selected: one === proposal.time }, one)),
    );
    const windows = [...new Set([...WINDOWS, proposal.window])];
    const length = el(
      "select",
      { id: "dataset-window", onchange: () => again({ window: length.value }) },
      windows.map((one) => el("option", { selected: one === proposal.window }, one)),
    );
    const there = this.datasets().some((one) => one.name === proposal.dataset);
    const field = (label, control) => el("label", { class: "field" }, el("span", {}, label), control);
    const agree = el(
      "button",
      { type: "submit", class: "primary" },
      there ? `Land into ${proposal.dataset}, which is there` : "Declare and land",
    );
    return el(
      "form",
      { class: "controls", onsubmit: (event) => [event.preventDefault(), this.agree(agree, there)] },
      field("Dataset", name),
      field("Time", time),
      field("A partition for each", length),
      el("span", { class: "grow" }),
      agree,
    );
  }

  async agree(button, there) {
    const { dataset, attributes } = this.proposal;
    button.disabled = true;
    show(this.said, note("Landing…"));
    try {
      if (!there) await put(`/admin${datasetPath(dataset)}`, attributes, { "If-None-Match": "*" });
      const landed = await this.sendFile(
        `/admin${datasetPath(dataset, `/files?${new URLSearchParams({ file: this.file.name })}`)}`,
      );
      await this.declared();
      button.hidden = true;
      show(
        this.said,
        el("p", { class: "note good" }, outcome(landed), " ", el("a", { href: address({ dataset }) }, "Look at it")),
      );
    } catch (error) {
      show(this.said, note(words(error), "error"));
      await this.declared();
    } finally {
      button.disabled = false;
    }
  }

  look() {}

  close() {
    this.running?.abort();
  }
}

function timesOf(proposal) {
  const times = proposal.columns.filter((one) => /^(timestamp|date)/.test(one.type)).map((one) => one.name);
  return [...new Set([proposal.time, ...times])];
}

function outcome(landed) {
  const refused = landed.deadLetters ? `, ${count(landed.deadLetters)} refused (${Object.keys(landed.reasons).join(", ")})` : "";
  const same = landed.duplicates ? `, ${count(landed.duplicates)} were there` : "";
  return `${count(landed.landed)} of ${plural(landed.read, "record")} landed${same}${refused}.`;
}
