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

export const get = (path, signal) => asJson(send(path, { signal }));

export const post = (path, body, signal) => asJson(send(path, withJson("POST", body, { signal })));

export const put = (path, body, headers = {}) => asJson(send(path, withJson("PUT", body, { headers })));

export const remove = (path) => send(path, { method: "DELETE" });

// An answer whose whole numbers beyond 2^53 keep all their digits, as text.
export async function postExactly(path, body, signal) {
  return exactly(await (await send(path, withJson("POST", body, { signal }))).text());
}

export async function postForBlob(path, body, accept) {
  return (await send(path, withJson("POST", body, { headers: { Accept: accept } }))).blob();
}

export const postForStream = (path, body, signal) => send(path, withJson("POST", body, { signal }));

export function exactly(text) {
  return JSON.parse(text, (_key, value, context) => (isRounded(value) && context?.source ? context.source : value));
}

const isRounded = (value) => typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER && Number.isInteger(value);

const asJson = async (sent) => (await sent).json();

function withJson(method, body, { headers = {}, signal }) {
  return { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers }, signal };
}

// A successful response.
export async function send(path, { headers = {}, ...options }) {
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
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  if (response.status === 401) dispatchEvent(new CustomEvent("unauthorized", { detail: body.detail ?? "" }));
  throw new Problem(response.status, body.code ?? "", body.detail ?? `The service answered ${response.status}.`, body);
}

// An error in a sentence a person can act on.
export const words = (error) => sentence(error.message);

export function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
