"""Functions and types that SQL handed in by people may use. Closed by default: what is not named here is refused.

Left out on purpose: whatever reads files, settings, secrets, variables, logs or the system's catalogs, whatever runs text as
SQL, sleeps or writes, what names DuckDB's internals, and functions that make a huge value of a small one (`repeat`, `lpad`,
`range` outside FROM, …): DuckDB's memory limit does not hold for single values, 20 GB were seen under a limit of 300 MB. A new
DuckDB version can add functions; none becomes reachable by that.

Some words of SQL are names here: a syntax error beside one says how to write it, and words of the session may be columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache

from timestore_assets.model.errors import InputError
from timestore_assets.model.types import quote
from timestore_assets.querying.planning import syntax

_OPERATORS = """
! !__postfix !~~ !~~* % & && * ** + - ->> -> / // < <-> << <= <=> <@ = > >= >> @ @> ^ ^@ | || ~ ~~ ~~* ~~~ !~
add subtract multiply divide mod xor like_escape ilike_escape not_like_escape not_ilike_escape
"""
_NUMBERS = """
abs acos acosh asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot degrees even exp factorial fdiv floor fmod
gamma gcd greatest greatest_common_divisor isfinite isinf isnan lcm least least_common_multiple lgamma ln log log10 log2
nextafter pi pow power radians random round round_even roundbankers sign signbit sin sinh sqrt tan tanh trunc hash
"""
_TEXT = """
ascii base64 bin chr char_length character_length concat concat_ws contains damerau_levenshtein decode editdist3 encode
ends_with format_bytes formatreadabledecimalsize formatreadablesize from_base64 from_binary from_hex hamming
hex instr jaccard jaro_similarity jaro_winkler_similarity lcase left left_grapheme length length_grapheme levenshtein lower
ltrim md5 md5_number md5_number_lower md5_number_upper mismatches nfc_normalize octet_length ord overlay position prefix
regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array
replace reverse right right_grapheme rtrim sha1 sha256 split split_part starts_with str_split str_split_regex
string_split string_split_regex string_to_array strip_accents strlen strpos substr substring substring_grapheme suffix
to_base to_base64 to_binary to_hex translate trim ucase unbin unhex unicode upper url_decode url_encode
"""
_TIME = """
age ago century current_date current_localtime current_localtimestamp date_add date_diff date_part date_sub date_trunc
datediff datepart datesub datetrunc day dayname dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns
epoch_us era get_current_time get_current_timestamp hour isodow isoyear julian last_day make_date make_time make_timestamp
make_timestamp_ms make_timestamp_ns make_timestamptz microsecond millennium millisecond minute month monthname nanosecond
normalized_interval now quarter second strftime strptime time_bucket timezone timezone_hour timezone_minute to_centuries
to_days to_decades to_hours to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds
to_timestamp to_weeks to_years today transaction_timestamp try_strptime week weekday weekofyear year yearweek
"""
_NESTED = """
aggregate apply array_aggregate array_append array_apply array_cat array_concat array_contains array_distinct array_extract
array_filter array_has array_has_all array_has_any array_indexof array_intersect array_length array_pop_back
array_pop_front array_position array_prepend array_push_back array_push_front array_reduce array_reverse array_reverse_sort
array_select array_slice array_sort array_to_string array_transform array_unique array_value array_where array_zip
cardinality element_at filter flatten grade_up len list_aggregate list_any_value list_append list_apply
list_avg list_cat list_concat list_contains list_count list_distinct list_element list_extract list_filter list_first
list_grade_up list_has list_has_all list_has_any list_histogram list_indexof list_intersect list_last list_max list_median
list_min list_mode list_pack list_position list_prepend list_product list_reduce list_reverse
list_reverse_sort list_select list_slice list_sort list_stddev_pop list_stddev_samp list_string_agg list_sum
list_transform list_unique list_value list_var_pop list_var_samp list_where list_zip map map_concat map_contains
map_entries map_extract map_extract_value map_from_entries map_keys map_values reduce row struct_concat struct_extract
struct_extract_at struct_insert struct_keys struct_pack struct_update struct_values unnest
"""
_JSON = """
array_to_json from_json from_json_strict json json_array json_array_length json_contains json_exists json_extract
json_extract_path json_extract_path_text json_extract_string json_keys json_merge_patch json_object json_quote
json_structure json_transform json_transform_strict json_type json_valid json_value row_to_json to_json
"""
_CHOICE = "coalesce constant_or_null if ifnull nullif typeof uuid gen_random_uuid uuidv4 uuidv7"
_AGGREGATES = """
any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_min arg_min_null argmax argmin
array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif covar_pop covar_samp entropy favg
first fsum geomean geometric_mean group_concat histogram json_group_array json_group_object kahan_sum kurtosis kurtosis_pop last
list listagg mad max max_by mean median min min_by mode product quantile quantile_cont quantile_disc regr_avgx regr_avgy
regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy reservoir_quantile sem skewness stddev stddev_pop
stddev_samp string_agg sum sumkahan var_pop var_samp variance wavg weighted_avg
"""
_WINDOWS = "cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank rank_dense row_number"

NUMERIC, STRING, TEMPORAL = (tuple(words.split()) for words in (_NUMBERS, _TEXT, _TIME))
"""Functions by what they compute with, as drivers ask for them."""
SCALARS = frozenset(" ".join((_OPERATORS, _NUMBERS, _TEXT, _TIME, _NESTED, _JSON, _CHOICE)).split())
"""Functions of one row's values, operators included."""
AGGREGATES = frozenset(_AGGREGATES.split())
WINDOWS = frozenset(_WINDOWS.split()) | AGGREGATES
TABLES = frozenset({"range", "generate_series", "unnest", "json_each"})
"""Functions that may stand in FROM: they make rows from their arguments and read nothing."""
KEYWORDS = frozenset({"current_date", "current_timestamp", "current_time", "localtime", "localtimestamp"})
"""Words without parentheses that DuckDB takes for a function where no column has that name."""
_UNREPEATABLE = """
age ago current_localtime current_localtimestamp gen_random_uuid get_current_time get_current_timestamp now random
reservoir_quantile today transaction_timestamp uuid uuidv4 uuidv7
"""
UNREPEATABLE = KEYWORDS | frozenset(_UNREPEATABLE.split())
"""Functions and words whose value depends on more than their arguments: on the time, or on chance."""

_TYPES = """
tinyint smallint int integer bigint hugeint utinyint usmallint uinteger ubigint uhugeint int1 int2 int4 int8 int16 int32 int64
int128 uint8 uint16 uint32 uint64 uint128 long short float real float4 float8 double decimal numeric dec bool boolean logical
varchar text string char bpchar blob bytea binary varbinary date time timestamp datetime timestamptz timetz timestamp_s
timestamp_ms timestamp_us timestamp_ns interval uuid json bit list array struct row map union enum null oid
"""
TYPES = frozenset(_TYPES.split()) | {"timestamp with time zone", "time with time zone"}
"""Type names in casts."""
COLLATIONS = frozenset({"nocase", "noaccent", "nfc", "binary", "c", "posix"})


Columns = Callable[[str], Collection[str]]
"""The names of a dataset's columns; asked only for datasets whose name is in the text."""
SESSION = frozenset({"current_user", "session_user", "user", "current_role", "current_schema", "current_catalog"})
"""What DuckDB takes for a column where there is one, and else for something about the session."""
_TOKENS = re.compile(r"""'(?:[^']|'')*'|"((?:[^"]|"")*)"|--[^\n]*|/\*(?:.*?\*/|.*)|\$?([A-Za-z_]\w*)|.""", re.DOTALL)
_MOST_NAMED = 3


@cache
def _reserved() -> frozenset[str]:
    query = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
    return frozenset(name for (name,) in syntax.parser().execute(query).fetchall())


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """The names in a text, in lower case, and whether each is in double quotes; not what literals and comments hold."""
    for found in _TOKENS.finditer(text):
        if found[1] is not None:
            yield found[1].replace('""', '"').lower(), True
        elif found[2] and not found[0].startswith("$"):
            yield found[2].lower(), False


@contextmanager
def hinted(text: str, datasets: Collection[str], columns: Columns) -> Iterator[None]:
    """Say with a syntax error which words of the text would have to be quoted to be names."""
    try:
        yield
    except InputError as error:
        if "syntax error" not in str(error):
            raise
        raise InputError(f"{error}{_hint(text, datasets, columns)}") from None


def _hint(text: str, datasets: Collection[str], columns: Columns) -> str:
    words = list(_words(text))
    bare = dict.fromkeys(word for word, quoted in words if not quoted and word in _reserved())
    mentioned = {word for word, _ in words}
    meant = {}
    for dataset in datasets:
        if dataset.lower() in bare:
            meant[dataset] = "the dataset"
        if dataset.lower() in mentioned:
            meant |= {column: f"the column of {dataset}" for column in columns(dataset) if column.lower() in bare}
    return "".join(
        f"; {name!r} is also a word of SQL: where you mean {what}, write {quote(name)} in double quotes"
        for name, what in list(meant.items())[:_MOST_NAMED]
    )


def session_columns(text: str, datasets: Collection[str], columns: Columns) -> frozenset[str]:
    """Words of the session that are columns of a dataset which the text mentions."""
    mentioned = {word for word, _ in _words(text)}
    wanted = mentioned & SESSION
    if not wanted:
        return frozenset()
    read = [dataset for dataset in datasets if dataset.lower() in mentioned]
    return frozenset(column.lower() for dataset in read for column in columns(dataset) if column.lower() in wanted)
