// Pages of rows, oldest or newest first.
//
// The service gives rows in order of time. From the newest on, a page is the end of a range that is grown or shrunk until it
// holds enough rows and not too many; the next page ends where this one began. All pages are of the first one's version.

import { datasetPath, postExactly } from "../base/api.js";
import { iso } from "../base/format.js";
import { estimate } from "../chart/grain.js";

export const PAGE_ROWS = 100;
// So many rows are asked for at most to show the last of them.
const MOST = 2_000;
const TICK_MS = 1;

// `question`: { dataset, time, from, to, filters, partitions }. A page: { rows, columns, version, next } where next starts the
// following one, null at the end.
export function firstPage(question, order, signal) {
  return order === "oldest" ? oldest(question, null, signal) : newest(question, { end: iso(question.to), version: null }, signal);
}

export function nextPage(question, order, next, signal) {
  return order === "oldest" ? oldest(question, next, signal) : newest(question, next, signal);
}

async function oldest(question, cursor, signal) {
  const timeRange = { start: iso(question.from), end: iso(question.to) };
  const body = { timeRange, filters: question.filters, pageSize: PAGE_ROWS, ...(cursor ? { cursor } : {}) };
  const answer = await postExactly(datasetPath(question.dataset, "/query"), body, signal);
  return { rows: answer.rows, columns: answer.columns, version: answer.manifestVersion, next: answer.nextCursor };
}

async function newest(question, { end, version }, signal) {
  const { from } = question;
  const to = Date.parse(end);
  const ask = async (start) => {
    const body = {
      timeRange: { start: iso(start), end },
      filters: question.filters,
      limit: MOST,
      ...(version === null ? {} : { asOf: version }),
    };
    return postExactly(datasetPath(question.dataset, "/query"), body, signal);
  };
  const longest = to - from;
  let [low, high, span] = [0, longest, likelySpan(question, to)];
  let few = null;
  for (;;) {
    const answer = await ask(Math.max(from, to - span));
    const { rows } = answer;
    const many = rows.length >= MOST;
    if (many && high - low > TICK_MS) {
      high = span;
      span = low ? (low + high) / 2 : high / 8;
    } else if (rows.length < PAGE_ROWS && span < longest) {
      [low, few] = [span, answer];
      const next = grown(span, rows.length);
      span = next < high || high === longest ? Math.min(next, longest) : high - low > TICK_MS ? (low + high) / 2 : high;
    } else if (many && few?.rows.length) {
      // what is newer than a moment with too many rows is a page of its own
      return page(few, question.time, false, false);
    } else return page(answer, question.time, span >= longest, many);
  }
}

// A range that should hold two pages, judged by how the rows lie in the partitions.
function likelySpan({ partitions, from }, to) {
  let span = 60_000;
  while (span < to - from && estimate(partitions, to - span, to) < PAGE_ROWS * 2) span *= 4;
  return Math.min(span, to - from);
}

const grown = (span, rows) => span * (rows ? Math.min(8, (PAGE_ROWS * 2) / rows) : 8);

// The last rows, newest first. Rows of the same moment stay on one page: the next one ends before it. `cut`: there are more of
// that moment than are asked for.
function page(answer, time, all, cut) {
  const { rows } = answer;
  let start = Math.max(0, rows.length - PAGE_ROWS);
  while (start > 0 && rows[start - 1][time] === rows[start][time]) start -= 1;
  const shown = rows.slice(start).reverse();
  const more = shown.length > 0 && !(all && start === 0);
  const version = answer.manifestVersion;
  return { rows: shown, columns: answer.columns, version, cut, next: more ? { end: shown.at(-1)[time], version } : null };
}
