// SQL cut into pieces, for colours and completion and to find what stands for a parameter. Not a parser.

const PIECE =
  /(?<comment>--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|(?<string>'(?:[^']|'')*(?:'|$))|(?<quoted>"(?:[^"]|"")*(?:"|$))|(?<parameter>\$[A-Za-z_]\w*)|(?<number>\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b)|(?<word>[\p{L}_][\p{L}\p{N}_]*)|(?<space>\s+)|(?<other>[\s\S])/giu;

export const KEYWORDS = new Set(
  `select from where group by order limit offset as and or not in is null between like ilike distinct having with union all
  except intersect join left right full inner outer cross on using case when then else end asc desc nulls first last over
  partition rows range preceding following unbounded current row interval exists true false cast try_cast date timestamp qualify
  filter values asof semi anti lateral recursive window any some`.split(/\s+/),
);

export const FUNCTIONS = `count sum avg min max median mode stddev variance quantile_cont first last arg_min arg_max list
  string_agg count_if approx_count_distinct corr abs round floor ceil sqrt ln exp pow greatest least coalesce nullif date_trunc
  date_part date_diff time_bucket extract year month day hour minute dayofweek strftime epoch lower upper length trim substr
  concat replace starts_with contains regexp_matches lag lead row_number rank dense_rank ntile`.split(/\s+/);

// [{kind, text, at}]: `kind` is one of the names above, or `keyword`.
export function tokens(text) {
  return [...text.matchAll(PIECE)].map((found) => {
    const [kind] = Object.entries(found.groups).find(([, part]) => part !== undefined);
    const known = kind === "word" && KEYWORDS.has(found[0].toLowerCase());
    return { kind: known ? "keyword" : kind, text: found[0], at: found.index };
  });
}

// Names of `$parameters`, in order and each once.
export function parametersIn(text) {
  return [
    ...new Set(
      tokens(text)
        .filter((one) => one.kind === "parameter")
        .map((one) => one.text.slice(1)),
    ),
  ];
}
