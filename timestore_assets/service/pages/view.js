// One dataset as it is looked at: its figures, chart, calendar, sources and dead letters.

import { datasetPath, get } from "./api.js";
import { CalendarPanel } from "./calendar.js";
import { firstRange, groupColumns, numberColumns, preferredColumn, wholeRange } from "./choices.js";
import { tiles, totals } from "./datasets.js";
import { el, note, show } from "./dom.js";
import { parse } from "./format.js";
import { ChartPanel } from "./panel.js";
import { go, read } from "./route.js";
import { lettersPanel, sourcesPanel } from "./sources.js";

const PAGE_PARTITIONS = 10_000;

export class DatasetView {
  constructor(dataset, tip) {
    Object.assign(this, { dataset, partitions: [], version: null, deadLetters: null, asked: null, zooms: 0, closed: false });
    this.state = el("div", { id: "state" }, note("Loading…"));
    this.numbers = el("div", { id: "tiles" });
    this.chart = new ChartPanel({ tip, changed: (part) => this.change(part), out: () => this.zoomOut() });
    this.calendar = new CalendarPanel({ tip, chosen: (one) => this.change({ from: one.from, to: one.to }) });
    this.sources = sourcesPanel();
    this.letters = lettersPanel();
    const about = dataset.description ? el("p", {}, dataset.description) : null;
    const head = el("header", { class: "head" }, el("h1", {}, dataset.name), about);
    const back = el("a", { class: "back", href: "#/" }, "← All datasets");
    const cards = [this.chart, this.calendar, this.sources, this.letters].map((panel) => panel.root);
    this.parts = [back, head, this.state, this.numbers, ...cards];
  }

  close() {
    this.closed = true;
    this.chart.stop();
  }

  say(words) {
    show(this.state, note(words, "error"));
  }

  // Ask for everything but the chart, and for that too when it shows all there is and there is more now.
  async refresh() {
    const { name, window } = this.dataset;
    const [status, partitions] = await Promise.all([get(datasetPath(name, "/status")), allPartitions(name)]);
    if (this.closed) return;
    const letters = totals(status).deadLetters;
    const changed = this.version !== status.manifestVersion;
    if (changed || letters !== this.deadLetters) this.letters.load(name, letters);
    Object.assign(this, { partitions, version: status.manifestVersion, deadLetters: letters });
    show(this.state);
    show(this.numbers, tiles(this.dataset, status, partitions));
    this.sources.load(status);
    if (changed) this.calendar.load(partitions, window);
    if (changed && (this.asked === null || read().from === null)) await this.look();
  }

  // Show what the address says, as far as it says it.
  look() {
    const { dataset, partitions } = this;
    const route = read();
    const columns = numberColumns(dataset);
    if (!columns.length) return this.chart.without("This dataset has no column of numbers to draw.");
    const groups = groupColumns(dataset);
    const column = columns.find((one) => one.name === route.column) ?? preferredColumn(columns, dataset);
    const by = route.by === null ? (dataset.partitionBy[0] ?? "") : groups.includes(route.by) ? route.by : "";
    const [from, to] = route.from !== null && route.to > route.from ? [route.from, route.to] : firstRange(partitions);
    this.chart.choose({ columns, groups, column: column.name, by });
    this.calendar.mark(from, to);
    if (from === null) return this.chart.without("There is nothing to draw yet: no rows have landed.");
    const { name, time } = dataset;
    this.asked = { dataset: name, time, column: column.name, unit: column.unit, by, from, to, partitions };
    return this.chart.load(this.asked);
  }

  change(part) {
    if (part.whole) return this.showWhole();
    if (part.from !== undefined) this.zooms += 1;
    return go({ ...read(), ...part });
  }

  showWhole() {
    const [from, to] = wholeRange(this.partitions);
    const [first] = firstRange(this.partitions);
    return go({ ...read(), ...(from === first ? { from: null, to: null } : { from, to }) });
  }

  // Back to where a zoom began; without one, three times as much around the middle.
  zoomOut() {
    if (this.zooms > 0) {
      this.zooms -= 1;
      return history.back();
    }
    if (this.asked === null) return undefined;
    const { from, to } = this.asked;
    const [oldest, newest] = wholeRange(this.partitions);
    const [start, end] = [Math.max(oldest, from - (to - from)), Math.min(newest, to + (to - from))];
    return start === from && end === to ? undefined : go({ ...read(), from: start, to: end });
  }
}

async function allPartitions(name) {
  const found = [];
  let cursor = null;
  do {
    const query = new URLSearchParams({ limit: PAGE_PARTITIONS, ...(cursor ? { cursor } : {}) });
    const page = await get(datasetPath(name, `/partitions?${query}`));
    found.push(...page.partitions);
    cursor = page.nextCursor;
  } while (cursor);
  const times = (one) => ({ from: parse(one.start), to: parse(one.end), oldest: parse(one.minTime), newest: parse(one.maxTime) });
  return found.map((one) => ({ ...one, ...times(one) }));
}
