// A box for SQL: the browser's own text area over a coloured copy of its text, with a list of completions at the caret.

import { el, show } from "../base/dom.js";
import { completions } from "./completion.js";
import { tokens } from "./tokens.js";

// Longer texts are edited without colours.
const COLOURED = 20_000;

export class SqlEditor {
  // `datasets()`: those to complete. `run()`: Ctrl-Enter. `changed()`: the text is another one.
  constructor({ datasets, run, changed }) {
    Object.assign(this, { datasets, run, changed, items: [], at: 0, from: 0, marked: null });
    this.area = el("textarea", {
      id: "sql-text",
      class: "sql-text",
      "aria-label": "SQL",
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
      wrap: "off",
      rows: 8,
      role: "combobox",
      "aria-autocomplete": "list",
      "aria-expanded": "false",
      "aria-controls": "sql-completions",
    });
    this.colours = el("pre", { class: "sql-colours", "aria-hidden": "true" });
    this.ruler = el("span", { class: "sql-ruler", "aria-hidden": "true" }, "m".repeat(20));
    this.list = el("ul", {
      class: "completions",
      id: "sql-completions",
      role: "listbox",
      "aria-label": "Completions",
      hidden: true,
    });
    this.root = el("div", { class: "sql-box" }, this.colours, this.area, this.ruler, this.list);
    this.area.addEventListener("input", () => [(this.marked = null), this.paint(), this.suggest(), changed()]);
    this.area.addEventListener("scroll", () => this.follow());
    this.area.addEventListener("keydown", (event) => this.pressed(event));
    this.area.addEventListener("blur", () => setTimeout(() => this.hide(), 150));
    this.area.addEventListener("click", () => this.hide());
  }

  get text() {
    return this.area.value;
  }

  set text(text) {
    this.area.value = text;
    this.marked = null;
    this.paint();
    this.hide();
  }

  // Colours the text; `marked`: [from, to] of what an error is about.
  paint() {
    const text = this.area.value;
    if (text.length > COLOURED) return show(this.colours, document.createTextNode(`${text}\n`));
    const pieces = tokens(text).map((one) => {
      const wrong = this.marked && one.at < this.marked[1] && one.at + one.text.length > this.marked[0];
      return el("span", { class: `sql-${one.kind}${wrong ? " wrong" : ""}` }, one.text);
    });
    this.colours.replaceChildren(...pieces, "\n");
    return this.follow();
  }

  follow() {
    [this.colours.scrollTop, this.colours.scrollLeft] = [this.area.scrollTop, this.area.scrollLeft];
  }

  mark(from, to) {
    this.marked = [from, Math.max(to, from + 1)];
    this.paint();
  }

  pressed(event) {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") return [event.preventDefault(), this.hide(), this.run()];
    if ((event.ctrlKey || event.metaKey) && event.key === " ") return [event.preventDefault(), this.suggest(true)];
    if (this.list.hidden) return undefined;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) return [event.preventDefault(), this.choose((this.at + step + this.items.length) % this.items.length)];
    if (event.key === "Enter" || event.key === "Tab") return [event.preventDefault(), this.take(this.items[this.at])];
    if (event.key === "Escape") return [event.preventDefault(), event.stopPropagation(), this.hide()];
    return undefined;
  }

  // Shows what the word at the caret could become; `asked`: also where there is no word yet.
  suggest(asked = false) {
    const caret = this.area.selectionStart;
    const { from, word, items } = completions(this.area.value, caret, this.datasets());
    const before = this.area.value.slice(0, from).trimEnd().toLowerCase();
    if (!items.length || (!word && !asked && !/\b(from|join)$/.test(before)) || this.area.selectionEnd !== caret)
      return this.hide();
    Object.assign(this, { items, from, at: 0 });
    show(
      this.list,
      items.map((one, i) => this.option(one, i)),
    );
    this.list.hidden = false;
    this.area.setAttribute("aria-expanded", "true");
    this.place(from);
    return this.choose(0);
  }

  option(one, i) {
    const taken = (event) => [event.preventDefault(), this.take(one)];
    return el(
      "li",
      { role: "option", id: `completion-${i}`, onpointerdown: taken },
      el("span", {}, one.label),
      el("small", {}, one.kind),
    );
  }

  place(from) {
    const lines = this.area.value.slice(0, from).split("\n");
    const width = this.ruler.getBoundingClientRect().width / 20;
    const height = this.ruler.getBoundingClientRect().height;
    const left = this.area.offsetLeft + 12 + lines.at(-1).length * width - this.area.scrollLeft;
    this.list.style.left = `${Math.max(0, Math.min(left, this.root.clientWidth - 260))}px`;
    this.list.style.top = `${this.area.offsetTop + 10 + lines.length * height - this.area.scrollTop}px`;
  }

  choose(at) {
    this.at = at;
    [...this.list.children].forEach((one, i) => one.setAttribute("aria-selected", String(i === at)));
    this.area.setAttribute("aria-activedescendant", `completion-${at}`);
    this.list.children[at]?.scrollIntoView({ block: "nearest" });
  }

  take(item) {
    this.area.focus();
    this.area.setRangeText(item.text, this.from, this.area.selectionStart, "end");
    this.hide();
    this.paint();
    this.changed();
  }

  hide() {
    this.list.hidden = true;
    this.area.setAttribute("aria-expanded", "false");
    this.area.removeAttribute("aria-activedescendant");
  }
}
