// Fields for the $parameters of a text: their types and values, remembered while the text is edited.

import { el, show } from "../base/dom.js";
import { parametersIn } from "./tokens.js";

const TYPES = ["string", "int", "double", "bool", "timestamp", "date"];
const HINTS = {
  timestamp: "2024-01-31T06:00:00Z",
  date: "2024-01-31",
  bool: "true or false",
  int: "1",
  double: "1.5",
  string: "",
};

export class ParameterFields {
  constructor(changed) {
    Object.assign(this, { changed, values: {}, types: {}, names: [] });
    this.root = el("div", { class: "parameters", role: "group", "aria-label": "Parameters" });
  }

  // `declared`: of a saved query, {name: {type, default}}. `given`: values from the address.
  load(text, { declared = {}, given = {} } = {}) {
    for (const [name, one] of Object.entries(declared)) {
      this.types[name] = one.type;
      if (one.default !== undefined && one.default !== null) this.values[name] = String(one.default);
    }
    Object.assign(this.values, given);
    this.names = [];
    this.follow(text);
  }

  follow(text) {
    const names = parametersIn(text);
    if (names.join() === this.names.join()) return;
    this.names = names;
    this.root.hidden = !names.length;
    show(
      this.root,
      names.map((name) => this.field(name)),
    );
  }

  field(name) {
    this.types[name] ??= guessed(name, this.values[name]);
    const value = el("input", {
      id: `parameter-${name}`,
      value: this.values[name] ?? "",
      placeholder: HINTS[this.types[name]],
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => [(this.values[name] = value.value), this.changed()],
    });
    const retyped = () => [(this.types[name] = type.value), value.setAttribute("placeholder", HINTS[type.value])];
    const type = el(
      "select",
      { "aria-label": `Type of $${name}`, onchange: retyped },
      TYPES.map((one) => el("option", { value: one, selected: one === this.types[name] }, one)),
    );
    return el("div", { class: "parameter" }, el("label", { for: `parameter-${name}` }, `$${name}`), value, type);
  }

  // Texts by name, as they stand in an address.
  given() {
    return Object.fromEntries(this.names.filter((name) => this.values[name]).map((name) => [name, this.values[name]]));
  }

  // As the service takes them: an empty field is null, unless it is a text's.
  typed() {
    return Object.fromEntries(this.names.map((name) => [name, { type: this.types[name], value: this.valueOf(name) }]));
  }

  // As a saved query declares them.
  declared() {
    const one = (name) => ({ type: this.types[name], ...(this.values[name] ? { default: this.valueOf(name) } : {}) });
    return Object.fromEntries(this.names.map((name) => [name, one(name)]));
  }

  valueOf(name) {
    const text = this.values[name] ?? "";
    const type = this.types[name];
    if (type === "string") return text;
    if (!text.trim()) return null;
    if (type === "bool")
      return text.trim().toLowerCase() === "true" ? true : text.trim().toLowerCase() === "false" ? false : text;
    const number = Number(text);
    return (type === "int" || type === "double") && Number.isFinite(number) ? number : text.trim();
  }
}

function guessed(name, value = "") {
  if (/^\d{4}-\d\d-\d\dT/.test(value) || /^(since|until|from|to|start|end|after|before|time|ts)$/i.test(name)) return "timestamp";
  if (/^\d{4}-\d\d-\d\d$/.test(value)) return "date";
  if (/^[+-]?\d+$/.test(value)) return "int";
  return /^[+-]?\d*\.\d+$/.test(value) ? "double" : "string";
}
