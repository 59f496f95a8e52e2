// Shows /openapi.json and lets its requests be tried. All text of the document is set as text, never as HTML.

const METHODS = ["get", "post", "put", "delete"];

/** An element with attributes and children; strings become text. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** `code` and **bold** of a description as elements. */
function prose(text) {
  const parts = (text || "").split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return el("code", {}, part.slice(1, -1));
    return part.startsWith("**") ? el("b", {}, part.slice(2, -2)) : part;
  });
  return el("div", { class: "prose" }, ...parts);
}

class Document {
  constructor(document) { this.document = document; }

  resolve(schema) {
    if (!schema || !schema.$ref) return schema || {};
    return schema.$ref.slice(2).split("/").reduce((found, key) => found[key], this.document) || {};
  }

  name(schema) {
    if (schema.$ref) return schema.$ref.split("/").pop();
    if (schema.anyOf || schema.oneOf) return (schema.anyOf || schema.oneOf).map((one) => this.name(one)).join(" | ");
    if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    if (schema.type === "array") return `${this.name(schema.items || {})}[]`;
    return schema.format ? `${schema.type} (${schema.format})` : schema.type || "any";
  }

  /** A value that fits a schema, from its examples and defaults. */
  sample(schema, depth = 0) {
    const found = this.resolve(schema);
    if (found.examples?.length) return found.examples[0];
    if (found.example !== undefined) return found.example;
    if (found.default !== undefined) return found.default;
    const choices = found.anyOf || found.oneOf;
    if (choices) return this.sample(choices[0], depth);
    if (found.enum) return found.enum[0];
    if (depth > 4) return null;
    if (found.type === "array") return found.items ? [this.sample(found.items, depth + 1)] : [];
    if (found.type === "object") {
      const entries = Object.entries(found.properties || {}).map(([key, one]) => [key, this.sample(one, depth + 1)]);
      return Object.fromEntries(entries);
    }
    return { string: "", integer: 0, number: 0, boolean: false }[found.type] ?? null;
  }

  properties(schema) {
    const found = this.resolve(schema);
    if (found.type === "array" && found.items) return this.properties(found.items);
    const rows = Object.entries(found.properties || {}).map(([key, one]) => el("tr", {},
      el("td", {}, el("code", {}, key), (found.required || []).includes(key) ? " *" : ""),
      el("td", {}, this.name(one)),
      el("td", {}, prose(one.description || this.resolve(one).description))));
    return rows.length ? el("table", {}, el("tbody", {}, ...rows)) : null;
  }
}

function example(content, doc) {
  if (content.example !== undefined) return content.example;
  const named = Object.values(content.examples || {})[0];
  if (named && named.value !== undefined) return named.value;
  return content.schema ? doc.sample(content.schema) : "";
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

function parameters(operation, doc) {
  if (!operation.parameters?.length) return null;
  const rows = operation.parameters.map((one) => el("tr", {},
    el("td", {}, el("code", {}, one.name), one.required ? " *" : ""),
    el("td", {}, `${one.in}, ${doc.name(one.schema || {})}`),
    el("td", {}, prose(one.description || ""))));
  return el("section", {}, el("h3", {}, "Parameters"), el("table", {}, el("tbody", {}, ...rows)));
}

function contents(title, content, doc) {
  const parts = Object.entries(content || {}).map(([type, one]) => el("div", {},
    el("code", {}, type), one.schema ? doc.properties(one.schema) : null, el("pre", {}, shown(example(one, doc)))));
  return parts.length ? el("section", {}, el("h3", {}, title), ...parts) : null;
}

function answers(operation, doc) {
  const parts = Object.entries(operation.responses || {}).map(([status, one]) => {
    const good = status < "300" ? contents("", one.content, doc) : null;
    return el("div", {}, el("b", {}, status), ` ${one.description || ""}`, good);
  });
  return el("section", {}, el("h3", {}, "Answers"), ...parts);
}

function trial(method, path, operation, doc) {
  const fields = (operation.parameters || []).map((one) => {
    const input = el("input", { name: one.name });
    input.dataset.place = one.in;
    return el("label", {}, `${one.name}${one.required ? " *" : ""} `, input);
  });
  const types = Object.entries(operation.requestBody?.content || {});
  const type = types.length ? el("select", { name: "type" }, ...types.map(([name]) => el("option", {}, name))) : null;
  const body = types.length ? el("textarea", { "aria-label": "Body" }) : null;
  const fill = () => { body.value = shown(example(operation.requestBody.content[type.value], doc)); };
  if (body) { fill(); type.addEventListener("change", fill); }
  const output = el("pre", { hidden: "" });
  const form = el("form", {}, ...fields, type, body, el("div", {}, el("button", { type: "submit" }, "Send")), output);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    output.hidden = false;
    output.textContent = await send(method, path, form, type, body);
  });
  return el("section", {}, el("h3", {}, "Try it"), form);
}

async function send(method, path, form, type, body) {
  const headers = {}, query = new URLSearchParams();
  let target = path;
  for (const input of form.querySelectorAll("input")) {
    if (input.dataset.place === "path") target = target.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (input.value && input.dataset.place === "header") headers[input.name] = input.value;
    else if (input.value) query.append(input.name, input.value);
  }
  const token = document.getElementById("token").value;
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = type.value;
  try {
    const answer = await fetch(query.size ? `${target}?${query}` : target, { method, headers, body: body?.value });
    const text = await answer.text();
    return `${answer.status} ${answer.statusText}\n\n${text.slice(0, 20000)}`;
  } catch (error) {
    return String(error);
  }
}

function shownOperation(method, path, operation, doc) {
  const head = el("summary", {}, el("span", { class: `method ${method}` }, method.toUpperCase()),
    el("span", { class: "path" }, path), el("span", { class: "about" }, operation.summary || ""));
  const made = el("details", {}, head);
  made.addEventListener("toggle", () => {
    if (!made.open || made.children.length > 1) return;
    made.append(el("div", { class: "body" }, prose(operation.description), parameters(operation, doc),
      contents("Body", operation.requestBody?.content, doc), answers(operation, doc), trial(method, path, operation, doc)));
  });
  return made;
}

function show(document_) {
  const doc = new Document(document_), main = document.getElementById("main");
  document.getElementById("summary").textContent = `${document_.info.summary || ""} Version ${document_.info.version}.`;
  main.replaceChildren(prose(document_.info.description));
  const sections = new Map((document_.tags || []).map((tag) => [tag.name, { about: tag.description, operations: [] }]));
  for (const [path, operations] of Object.entries(document_.paths)) {
    for (const method of METHODS.filter((one) => operations[one])) {
      const tag = operations[method].tags?.[0] || "other";
      if (!sections.has(tag)) sections.set(tag, { about: "", operations: [] });
      sections.get(tag).operations.push(shownOperation(method, path, operations[method], doc));
    }
  }
  for (const [name, section] of sections) {
    if (!section.operations.length) continue;
    const id = name.replaceAll(" ", "-");
    main.append(el("h2", { id }, name === "sql" ? "SQL" : name), prose(section.about), ...section.operations);
    document.getElementById("contents").append(el("a", { href: `#${id}` }, name));
  }
}

const answer = await fetch("/openapi.json");
show(await answer.json());
