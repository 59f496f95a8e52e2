// Queries with a name: the list of them, saving what is in the box, and taking one away.

import { get, put, remove, words } from "../base/api.js";
import { el, note, show } from "../base/dom.js";
import { menu } from "../base/menu.js";
import { address } from "../frame/route.js";

const NAME = "[a-z0-9][a-z0-9_\\-]{0,62}";

export class SavedQueries {
  // `current()`: { sql, parameters } to save. `opened(saved)`: one was saved and is shown now.
  constructor({ current, opened, gone }) {
    Object.assign(this, { current, opened, gone, queries: [], chosen: null });
    this.list = el("ul", { class: "saved" });
    this.root = el(
      "section",
      { class: "card", "aria-labelledby": "saved-title" },
      el("h2", { id: "saved-title" }, "Saved queries"),
      this.list,
    );
    this.name = el("input", { id: "saved-name", pattern: NAME, required: true, autocomplete: "off", spellcheck: "false" });
    this.about = el("input", { id: "saved-description", autocomplete: "off" });
    this.said = el("div", { "aria-live": "polite" });
    this.menu = menu("Save…", { kind: "save-menu", opened: () => this.offer() });
    const form = el(
      "form",
      { class: "menu-form", onsubmit: (event) => [event.preventDefault(), this.save()] },
      el("label", { for: "saved-name" }, "Name (small letters, digits, _ and -)"),
      this.name,
      el("label", { for: "saved-description" }, "What it tells"),
      this.about,
      this.said,
      el("button", { type: "submit", class: "primary" }, "Save for all readers"),
    );
    this.menu.body.append(form);
  }

  async load() {
    this.queries = (await get("/saved-queries")).queries;
    this.draw();
  }

  find(name) {
    return this.queries.find((one) => one.id === name) ?? this.queries.find((one) => one.name === name) ?? null;
  }

  // Another of its name, over other datasets, is told apart by the id.
  nameOf(one) {
    return this.queries.filter((other) => other.name === one.name).length > 1 ? one.id : one.name;
  }

  choose(saved) {
    this.chosen = saved;
    this.draw();
  }

  draw() {
    if (!this.queries.length) return show(this.list, el("li", {}, note("None yet. Write one and save it; it gets an address.")));
    return show(
      this.list,
      this.queries.map((one) => this.item(one)),
    );
  }

  item(one) {
    const link = { href: address({ view: "sql", saved: this.nameOf(one) }), "aria-current": one === this.chosen ? "page" : null };
    const reads = `${one.datasets.join(", ")} · by ${one.updatedBy}`;
    return el(
      "li",
      {},
      el(
        "a",
        link,
        el("span", { class: "dataset-name" }, one.name),
        one.description ? el("span", { class: "dataset-facts" }, one.description) : null,
        el("span", { class: "dataset-facts" }, reads),
      ),
      el(
        "button",
        { type: "button", class: "plain", "aria-label": `Delete ${one.name}`, title: "Delete", onclick: () => this.erase(one) },
        "×",
      ),
    );
  }

  offer() {
    show(this.said);
    if (this.chosen) [this.name.value, this.about.value] = [this.chosen.name, this.chosen.description];
    this.name.focus();
  }

  async save() {
    const { sql, parameters } = this.current();
    const before = this.queries.find((one) => one.name === this.name.value);
    if (before && before !== this.chosen && !confirm(`Replace the saved query “${before.name}”?`)) return;
    try {
      const saved = await put(`/saved-queries/${encodeURIComponent(this.name.value)}`, {
        sql,
        parameters,
        description: this.about.value,
      });
      this.menu.close();
      await this.load();
      this.opened(this.nameOf(this.find(saved.id)));
    } catch (error) {
      show(this.said, note(words(error), "error"));
    }
  }

  async erase(one) {
    if (!confirm(`Delete the saved query “${one.name}” for everybody?`)) return;
    try {
      await remove(`/saved-queries/${encodeURIComponent(one.id)}`);
      await this.load();
      if (one === this.chosen) this.gone();
    } catch (error) {
      show(this.list, note(words(error), "error"));
    }
  }
}
