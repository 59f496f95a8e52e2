// What is looked at stands in the address, so that it can be shared and "back" zooms out: #/name?from=…&to=…&column=…&by=…

import { iso, parse } from "./format.js";

export function read() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const query = new URLSearchParams(search);
  return {
    dataset: decoded(path),
    from: moment(query.get("from")),
    to: moment(query.get("to")),
    column: query.get("column"),
    by: query.get("by"),
  };
}

export function address(route) {
  const query = new URLSearchParams();
  if (route.from !== null && route.to !== null) {
    query.set("from", iso(route.from));
    query.set("to", iso(route.to));
  }
  if (route.column) query.set("column", route.column);
  if (route.by !== null && route.by !== undefined) query.set("by", route.by);
  const text = query.toString();
  return `#/${encodeURIComponent(route.dataset)}${text ? `?${text}` : ""}`;
}

export function go(route, { replace = false } = {}) {
  if (replace) history.replaceState(null, "", address(route));
  else history.pushState(null, "", address(route));
  dispatchEvent(new PopStateEvent("popstate"));
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

function moment(text) {
  const found = parse(text);
  return Number.isFinite(found) ? found : null;
}
