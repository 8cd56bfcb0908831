"""The words of row expressions: which functions and types are allowed, why others are refused, and the tokenizer."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Literal

from raypipe.lazy_dataclass import dataclass


def words(text: str) -> frozenset[str]:
    """Return the set of the words of a text."""
    return frozenset(text.split())


FUNCTIONS = words(
    "abs acos asin atan atan2 cbrt ceil ceiling cos cot degrees exp floor ln log log10 log1p log2 pi pow power radians "
    "round sign sin sqrt tan trunc bit_length char_length character_length concat concat_ws ends_with initcap left length "
    "lower lpad ltrim octet_length regexp_like regexp_replace replace reverse right rpad rtrim split_part starts_with "
    "strpos substr substring trim upper date date_part date_trunc day dayofmonth dayofweek dayofyear hour minute month "
    "quarter second strftime strptime timestamp week year array_contains array_get array_length array_lower array_reverse "
    "array_to_string array_upper bit_count greatest least"
)
"""Functions of Polars SQL whose result depends on their own row alone."""

SPECIAL_FORMS = frozenset({"case", "cast", "coalesce", "div", "extract", "if", "ifnull", "mod", "nullif", "position", "try_cast"})
"""Functions with a syntax or a translation of their own (expression_syntax)."""

AGGREGATES = words(
    "any_value approx_count_distinct approx_quantile arg_max arg_min array_agg avg bit_and bit_or bit_xor bool_and bool_or "
    "corr count covar_pop covar_samp cume_dist dense_rank every first first_value group_concat lag last last_value lead "
    "list listagg max mean median min mode nth_value ntile percent_rank product quantile quantile_cont quantile_disc rank "
    "row_number std stddev stddev_pop stddev_samp stdev string_agg sum var var_pop var_samp variance"
)
CLOCKS = words("current_date current_time current_timestamp getdate localtime localtimestamp now sysdate today")
CHANCE = words("gen_random_uuid newid rand random uuid uuidv4 uuidv7")
STATEMENTS = words(
    "alter attach copy create delete drop except execute exists explain fetch filter from group having insert intersect "
    "into join lateral limit offset order over partition pragma qualify returning select set table truncate union update "
    "values where window with within"
)

TYPES = {
    "bool": "BOOLEAN",
    "boolean": "BOOLEAN",
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "int": "INTEGER",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "utinyint": "UTINYINT",
    "usmallint": "USMALLINT",
    "uinteger": "UINTEGER",
    "ubigint": "UBIGINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "real": "REAL",
    "float": "DOUBLE",
    "float32": "REAL",
    "float64": "DOUBLE",
    "double": "DOUBLE",
    "decimal": "DECIMAL",
    "numeric": "DECIMAL",
    "char": "VARCHAR",
    "string": "VARCHAR",
    "text": "VARCHAR",
    "varchar": "VARCHAR",
    "binary": "BLOB",
    "blob": "BLOB",
    "bytea": "BLOB",
    "varbinary": "BLOB",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
}
"""Type words of CAST; `int8` and `uint8` are left out because they are one byte to raypipe and eight to SQL."""

RESERVED = words("and between case else end false ilike in is like not null or regexp rlike then true when")
"""Words that cannot be a column without quotes."""


class Refused(Exception):
    """One expression is refused: where in its text, and why."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean "x"?` for the closest known word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6) or [one for one in known if one.lower() == word.lower()]
    return f', did you mean "{close[0]}"?' if close else ""


def refuse_word(word: str, position: int) -> Refused:
    """Return the error for a word that may not be called or used as a value in a row expression."""
    name = word.lower()
    if name in AGGREGATES:
        return Refused(position, f"{name} looks at many rows: a row expression sees one row; use the SQL of an output")
    if name in CLOCKS:
        return Refused(position, f"{name} is a clock: a result must depend on the row alone; compare with a literal or a column")
    if name in CHANCE:
        return Refused(position, f"{name} is random: a result must depend on the row alone")
    if name in STATEMENTS:
        return Refused(position, f"{name.upper()} is not part of a row expression: no queries, subqueries or window functions")
    known = FUNCTIONS | SPECIAL_FORMS
    return Refused(position, f'unknown function "{name}"{nearest(name, sorted(known))}')


TokenKind = Literal["number", "string", "bytes", "quoted", "word", "sign", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `text` is as written, without quotes for a quoted identifier."""

    kind: TokenKind
    text: str
    position: int

    @property
    def word(self) -> str:
        """The word in lower case, or nothing for any other kind."""
        return self.text.lower() if self.kind == "word" else ""

    def is_sign(self, *signs: str) -> bool:
        """Tell whether this is one of the signs."""
        return self.kind == "sign" and self.text in signs


_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)
    |(?P<bytes>[xX]'[0-9A-Fa-f]*')
    |(?P<string>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+"|`[^`]+`)
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<word>[^\W\d]\w*)
    |(?P<sign>!~\*|~\*|!~|\^@|<=>|<>|!=|==|<=|>=|\|\||::|//|/(?!\*)|[-+*%()\[\],.<>=~&|])""",
    re.VERBOSE | re.DOTALL,
)


def tokenize(text: str) -> tuple[Token, ...]:
    """Split an expression into tokens; raises Refused at what has no place in one."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Refused(position, _strange(text, position))
        kind, word = match.lastgroup, match[0]
        if kind != "space":
            tokens.append(_token(kind, word, position))
        position = match.end()
    tokens.append(Token("end", "", len(text)))
    return tuple(tokens)


def _token(kind: str | None, word: str, position: int) -> Token:
    if kind == "quoted":
        plain = word[1:-1] if word[0] == "`" else word[1:-1].replace('""', '"')
        return Token("quoted", plain, position)
    if kind == "number" and re.fullmatch(r"0\d+", word):
        return Token("number", word.lstrip("0") or "0", position)
    return Token(kind, word, position)  # type: ignore[arg-type]


def _strange(text: str, position: int) -> str:
    sign = text[position]
    if sign in "'\"`":
        return f"the quote {sign} is never closed"
    if text.startswith("/*", position):
        return "the comment /* is never closed"
    if sign == ";":
        return "a semicolon has no place here: write one expression"
    if sign in "?$:@":
        return f"{sign!r} would be a placeholder: write the value"
    return f"{sign!r} is not part of a row expression"
