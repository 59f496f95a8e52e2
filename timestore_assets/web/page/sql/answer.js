// An answer to SQL as it comes in: read as far as it is shown, and no further.

import { exactly } from "../base/api.js";

// More than this is not shown: a download has it all.
export const MOST_ROWS = 10_000;
const MOST_BYTES = 20_000_000;

// { columns, rows, manifestVersions, warnings, whole } of a response. Rows are lines of their own inside its JSON.
export async function readAnswer(response, abort) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parts = [];
  let [bytes, lines] = [0, 0];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { ...exactly(parts.join("") + decoder.decode()), whole: true };
    const text = decoder.decode(value, { stream: true });
    parts.push(text);
    bytes += value.length;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines += 1;
    if (lines > MOST_ROWS || bytes > MOST_BYTES) break;
  }
  abort();
  return cutAnswer(parts.join(""));
}

export function cutAnswer(text) {
  const rows = text.slice(0, text.lastIndexOf("\n")).replace(/,$/, "");
  const answer = exactly(`${rows}\n]}`);
  return { ...answer, rows: answer.rows.slice(0, MOST_ROWS), whole: false };
}
