"""Hypothesis strategies for the message types, made from the same definitions as the schema."""

import string
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

_PATTERNS = {
    "^[0-9a-z-]+$": string.digits + string.ascii_lowercase + "-",
    "^[0-9a-z]+$": string.digits + string.ascii_lowercase,
    "^[0-9a-f]*$": "0123456789abcdef",
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Give any value that the type allows, the longest and largest ones included."""
    return _values(inspect.type_info(kind))


def _values(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.Metadata():
            return _values(info.type)
        case inspect.StructType():
            fields = {
                field.name: _values(field.type) | st.just(msgspec.UNSET)
                if field.default is msgspec.UNSET
                else _values(field.type)
                for field in info.fields
            }
            return st.fixed_dictionaries(fields).map(lambda values: info.cls(**values))
        case inspect.StrType():
            alphabet = st.sampled_from(_PATTERNS[info.pattern]) if info.pattern else st.characters(codec="utf-8")
            least = 1 if info.pattern and "+" in info.pattern else 0
            return st.text(alphabet, min_size=least, max_size=info.max_length)
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return st.integers(info.ge if info.ge is not None else -(2**53), info.le if info.le is not None else 2**53)
        case inspect.FloatType():
            return st.floats(info.ge, info.le, allow_nan=False, allow_infinity=False)
        case inspect.TupleType():
            return st.tuples(*map(_values, info.item_types))
        case inspect.DictType():
            return st.dictionaries(_values(info.key_type), _values(info.value_type), max_size=info.max_length)
        case inspect.NoneType():
            return st.none()
        case inspect.UnionType():
            return st.one_of([_values(one) for one in info.types])
    raise AssertionError(f"no strategy for {info}")
