"""Names and literals of generated C++."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """alignas alignof and asm auto bitand bitor bool break case catch char class compl const constexpr
        const_cast continue decltype default delete do double dynamic_cast else enum explicit export extern
        false float for friend goto if inline int long mutable namespace new noexcept not nullptr operator or
        private protected public register reinterpret_cast return short signed sizeof static static_assert
        static_cast struct switch template this thread_local throw true try typedef typeid typename union
        unsigned using virtual void volatile wchar_t while xor int32_t int64_t size_t std fx2ait linux unix
        """,
    )
)


class Identifiers:
    """Makes distinct C++ identifiers out of any texts.

    >>> names = Identifiers()
    >>> names("layer1.0.conv1"), names("layer1/0/conv1"), names("1x1"), names("new")
    ('layer1_0_conv1', 'layer1_0_conv1_2', 'n1x1', 'new_')
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)

    def __call__(self, text: str) -> str:
        plain = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", text)).strip("_") or "unnamed"
        if plain[0].isdigit():
            plain = f"n{plain}"
        if plain in _KEYWORDS:
            plain += "_"
        name, number = plain, 1
        while name in self._taken:
            number += 1
            name = f"{plain.rstrip('_')}_{number}"
        self._taken.add(name)
        return name


def c_string(text: str) -> str:
    """``text`` as a C string literal, in UTF-8 with octal escapes."""
    return '"' + "".join(map(_escaped, text.encode())) + '"'


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in '"\\':
        return f"\\{character}"
    printable = 0x20 <= byte < 0x7F and character != "?"  # two of these begin a trigraph
    return character if printable else f"\\{byte:03o}"


def one_line(text: str) -> str:
    """``text`` fit for the rest of a ``//`` comment."""
    return re.sub(r"\s+", " ", text).strip().rstrip("\\")
