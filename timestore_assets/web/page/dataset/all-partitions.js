// All partitions of a dataset, with their times as numbers.

import { datasetPath, get } from "../base/api.js";
import { parse } from "../base/format.js";

const PAGE = 10_000;

export async function allPartitions(name) {
  const found = [];
  let cursor = null;
  do {
    const query = new URLSearchParams({ limit: PAGE, ...(cursor ? { cursor } : {}) });
    const page = await get(datasetPath(name, `/partitions?${query}`));
    found.push(...page.partitions);
    cursor = page.nextCursor;
  } while (cursor);
  const times = (one) => ({ from: parse(one.start), to: parse(one.end), oldest: parse(one.minTime), newest: parse(one.maxTime) });
  return found.map((one) => ({ ...one, ...times(one) }));
}
