// SQL over all datasets that the reader may see: write, run, cancel, keep.

import { postForBlob, postForStream, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { downloads } from "../base/download.js";
import { address, go, note as write, read } from "../frame/route.js";
import { AnswerChart } from "./answer-chart.js";
import { readAnswer } from "./answer.js";
import { quoted } from "./completion.js";
import { SqlEditor } from "./editor.js";
import { ParameterFields } from "./parameters.js";
import { drawAnswer, drawError } from "./results.js";
import { SavedQueries } from "./saved.js";

export class SqlView {
  // `datasets()`: those that may be read. `session`: what the reader may do.
  constructor({ datasets, session, tip }) {
    Object.assign(this, { datasets, running: null, saved: null, drawn: null });
    this.chart = new AnswerChart({ tip, changed: (text) => [(this.drawn = text), this.noteAddress()] });
    this.editor = new SqlEditor({ datasets, run: () => this.run(), changed: () => this.edited() });
    this.parameters = new ParameterFields(() => this.noteAddress());
    this.queries = new SavedQueries({
      current: () => ({ sql: this.editor.text, parameters: this.parameters.declared() }),
      opened: (name) => go({ view: "sql", saved: name, parameters: {} }),
      gone: () => go({ view: "sql", text: this.editor.text }, { replace: true }),
    });
    this.runButton = el("button", { type: "button", class: "primary", onclick: () => this.run() }, "Run");
    this.cancelButton = el("button", { type: "button", hidden: true, onclick: () => this.running?.abort() }, "Cancel");
    this.results = el("div", { id: "sql-results", "aria-live": "polite" }, this.hint());
    this.heading = el("h1", {}, "SQL");
    this.about = el("p", {}, "One SELECT in DuckDB’s SQL; every dataset is a table of its newest version.");
    const ask = (format) => postForBlob(`/sql${format.query ?? ""}`, this.body(), format.accept);
    const failed = (error) => show(this.results, note(words(error), "error"));
    const download = downloads(() => this.saved?.name ?? "result", ask, failed);
    const link = el("button", { type: "button", onclick: () => this.copyLink(link) }, "Copy link");
    this.queries.menu.root.hidden = !session?.maySaveQueries;
    const controls = el(
      "div",
      { class: "controls" },
      this.runButton,
      this.cancelButton,
      el("span", { class: "keys" }, "Ctrl-Enter runs, Ctrl-Space completes"),
      el("span", { class: "grow" }),
      this.queries.menu.root,
      link,
      download.root,
    );
    const card = el("section", { class: "card", "aria-label": "Query" }, this.editor.root, this.parameters.root, controls);
    const answer = el("section", { class: "card", "aria-label": "Result" }, this.chart.root, this.results);
    const head = el("header", { class: "head" }, this.heading, this.about);
    this.parts = [el("a", { class: "back", href: "#/" }, "← All datasets"), head, card, answer, this.queries.root];
  }

  hint() {
    return note("Results appear here.");
  }

  // Only a saved query has to wait for the list of them; elsewhere one can write at once.
  async open() {
    const loaded = this.queries.load().catch((error) => show(this.queries.list, note(words(error), "error")));
    if (read().saved) await loaded;
    this.look();
  }

  // Shows what the address names; what is being written stays when the address says nothing of it.
  look() {
    const route = read();
    if (route.view !== "sql") return undefined;
    const saved = route.saved ? this.queries.find(route.saved) : null;
    if (route.saved && !saved) {
      this.choose(null);
      this.chart.hide();
      return show(this.results, note(`There is no saved query “${route.saved}” that you may see.`, "error"));
    }
    const text = saved ? saved.sql : (route.text ?? (this.editor.text || this.example()));
    if (this.shown === address(route) && text === this.editor.text) return undefined;
    this.shown = address(route);
    this.choose(saved);
    this.drawn = route.chart;
    this.editor.text = text;
    this.parameters.load(text, { declared: saved?.parameters, given: route.parameters });
    return saved || route.text ? this.run() : undefined;
  }

  choose(saved) {
    this.saved = saved;
    this.queries.choose(saved);
    this.heading.textContent = saved ? saved.name : "SQL";
    this.about.textContent = saved?.description || "One SELECT in DuckDB’s SQL; every dataset is a table of its newest version.";
  }

  example() {
    const full = this.datasets().toSorted((a, b) => (b.rows ?? 0) - (a.rows ?? 0))[0];
    return full ? `SELECT *\nFROM ${quoted(full.name)}\nORDER BY ${quoted(full.time)} DESC\nLIMIT 100` : "SELECT 1";
  }

  edited() {
    this.parameters.follow(this.editor.text);
    this.noteAddress();
  }

  // A saved query whose text was changed is a text of its own.
  noteAddress() {
    const same = this.saved && this.saved.sql === this.editor.text;
    const route = {
      view: "sql",
      saved: same ? this.queries.nameOf(this.saved) : "",
      text: this.editor.text,
      chart: this.drawn,
      parameters: this.parameters.given(),
    };
    this.shown = address(route);
    write(route);
  }

  body() {
    return { sql: this.editor.text, parameters: this.parameters.typed() };
  }

  async run() {
    if (!this.editor.text.trim()) return;
    this.running?.abort();
    const control = (this.running = new AbortController());
    const text = this.editor.text;
    this.noteAddress();
    this.busy(true);
    const began = performance.now();
    try {
      const response = await postForStream("/sql", this.body(), control.signal);
      let cut = false;
      const answer = await readAnswer(response, () => [(cut = true), control.abort()]);
      if (!control.signal.aborted || cut) this.answered(answer, performance.now() - began);
    } catch (error) {
      if (error.name === "AbortError") {
        if (this.running === control) this.instead(note("Cancelled."));
      } else {
        this.chart.hide();
        const place = drawError(this.results, error, text);
        if (place && this.editor.text === text) this.editor.mark(...place);
      }
    } finally {
      if (this.running === control) this.busy(false);
    }
  }

  answered(answer, ms) {
    drawAnswer(this.results, answer, ms);
    this.chart.load(answer, this.drawn);
  }

  instead(words) {
    this.chart.hide();
    show(this.results, words);
  }

  busy(running) {
    [this.cancelButton.hidden, this.runButton.textContent] = [!running, running ? "Running…" : "Run"];
    this.results.toggleAttribute("data-busy", running);
  }

  async copyLink(button) {
    this.noteAddress();
    await navigator.clipboard?.writeText(location.href);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy link"), 2000);
  }

  close() {
    this.running?.abort();
    this.chart.close();
  }
}
