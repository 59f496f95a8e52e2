// Requests to the service this page comes from. The token lives in this tab only.

const KEY = "timestore-token";

export class Problem extends Error {
  constructor(status, code, detail, body = {}) {
    super(detail);
    Object.assign(this, { status, code, body });
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

export const datasetPath = (name, rest = "") => `/datasets/${encodeURIComponent(name)}${rest}`;

export const get = (path, signal) => ask(path, { signal });

export function post(path, body, signal) {
  return ask(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });
}

async function ask(path, { headers = {}, ...options }) {
  const credentials = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  let response;
  try {
    response = await fetch(path, {
      ...options,
      headers: { Accept: "application/json", ...headers, ...credentials },
      credentials: "omit",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "The service does not answer. Is it still running?");
  }
  if (response.ok) return response.json();
  const body = await response.json().catch(() => ({}));
  throw new Problem(response.status, body.code ?? "", body.detail ?? `The service answered ${response.status}.`, body);
}

// An error in a sentence a person can act on.
export function words(error) {
  if (error.status === 401) return `${sentence(error.message)} Enter a token at the top of the page.`;
  return sentence(error.message);
}

function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
