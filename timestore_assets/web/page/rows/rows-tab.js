// The rows of a dataset themselves, filtered, in order of time, some at a time, and as a file.

import { datasetPath, postForBlob, words } from "../base/api.js";
import { el, funnel, note, show } from "../base/dom.js";
import { downloads } from "../base/download.js";
import { iso, plural } from "../base/format.js";
import { rowTable } from "../base/table.js";
import { asked } from "../filters/conditions.js";
import { go, read } from "../frame/route.js";
import { firstPage, nextPage } from "./paging.js";

export class RowsTab {
  constructor(view) {
    Object.assign(this, { view, pages: [], at: 0, order: "newest", running: null, asked: null });
    this.body = el("div", { id: "rows", "aria-live": "polite" });
    this.where = el("span", { class: "quiet", id: "rows-where" });
    this.earlier = el("button", { type: "button", onclick: () => this.turn(-1) }, "← Back");
    this.later = el("button", { type: "button", onclick: () => this.turn(1) }, "Next →");
    this.said = el("div");
    const download = downloads(
      () => view.dataset.name,
      (format) => postForBlob(datasetPath(view.dataset.name, `/query${format.query ?? ""}`), this.wholeBody(), format.accept),
      (error) => show(this.said, note(words(error), "error")),
    );
    this.root = el(
      "section",
      { class: "card", "aria-label": "Rows" },
      el("div", { class: "controls" }, this.where, el("span", { class: "grow" }), this.earlier, this.later, download.root),
      this.said,
      this.body,
    );
  }

  // All rows that the range and the filters leave, as a download asks for them.
  wholeBody() {
    const { from, to, filters } = this.question;
    return { timeRange: { start: iso(from), end: iso(to) }, filters };
  }

  async look({ changed }) {
    const { dataset, range, partitions } = this.view;
    const route = read();
    const filters = asked(route.filters, dataset.columns);
    this.order = route.order;
    this.root.classList.toggle("bare", range.from === null);
    if (range.from === null) return show(this.body, note("There is nothing to show yet: no rows have landed."));
    this.question = { dataset: dataset.name, time: dataset.time, from: range.from, to: range.to, filters, partitions };
    const key = JSON.stringify([route.from, route.to, route.last, filters, route.order]);
    // who has turned pages reads on in the version that the pages are of
    if (key === this.asked && (!changed || this.at > 0)) return undefined;
    this.asked = key;
    return this.load([], 0);
  }

  turn(by) {
    const at = this.at + by;
    if (at < this.pages.length) {
      this.at = at;
      return this.draw();
    }
    return this.load(this.pages, at);
  }

  async load(before, at) {
    this.running?.abort();
    const { signal } = (this.running = new AbortController());
    this.body.setAttribute("aria-busy", "true");
    show(this.said);
    try {
      const next = before.at(-1)?.next;
      const page = next
        ? await nextPage(this.question, this.order, next, signal)
        : await firstPage(this.question, this.order, signal);
      if (signal.aborted) return;
      [this.pages, this.at] = [[...before, page], at];
      this.draw();
    } catch (error) {
      if (signal.aborted) return;
      if (!before.length) show(this.body);
      show(this.said, note(words(error), "error"));
    } finally {
      if (!signal.aborted) this.body.removeAttribute("aria-busy");
    }
  }

  draw() {
    const page = this.pages[this.at];
    [this.earlier.disabled, this.later.disabled] = [this.at === 0, !page.next];
    this.where.textContent = this.position(page);
    if (!page.rows.length) return show(this.body, note("No row fulfils this: widen the range or take a filter back."));
    const { time } = this.view.dataset;
    const units = new Map(this.view.dataset.columns.map((one) => [one.name, one.unit]));
    const first = page.columns.filter((one) => one.name === time);
    const columns = [...first, ...page.columns.filter((one) => one.name !== time)].map((one) => ({
      ...one,
      unit: one.unit || units.get(one.name),
      sorted: one.name === time ? (this.order === "oldest" ? "ascending" : "descending") : null,
    }));
    return show(
      this.body,
      rowTable(`Rows of ${this.view.dataset.name}`, columns, page.rows, (one) => this.headButton(one)),
    );
  }

  position(page) {
    const before = this.pages.slice(0, this.at).reduce((sum, one) => sum + one.rows.length, 0);
    const cut = page.cut ? "; more are of the same moment, which the other order shows" : "";
    const order = (this.order === "oldest" ? "oldest first" : "newest first") + cut;
    if (!page.rows.length) return "";
    if (!page.next && !before) return `${plural(page.rows.length, "row")}, ${order}`;
    return `Rows ${before + 1} – ${before + page.rows.length}${page.next ? "" : ", the last"}, ${order}, version ${page.version}`;
  }

  // By time the order is turned round; other columns are filtered.
  headButton(one) {
    if (one.name === this.view.dataset.time) {
      const turned = this.order === "oldest" ? "newest" : "oldest";
      const sort = () => go({ ...read(), order: turned });
      return el(
        "button",
        {
          type: "button",
          class: "plain",
          "aria-label": `Show the ${turned} first`,
          title: `Show the ${turned} first`,
          onclick: sort,
        },
        this.order === "oldest" ? "↑" : "↓",
      );
    }
    const label = `Filter by ${one.name}`;
    return el(
      "button",
      {
        type: "button",
        class: "plain funnel",
        "aria-label": label,
        title: label,
        onclick: () => this.view.filters.offer(one.name),
      },
      funnel(),
    );
  }

  close() {
    this.running?.abort();
  }
}
