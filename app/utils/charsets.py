"""Text in other encodings than UTF-8, as clients of other systems send it."""

# Names that Python knows too. A list, because a client's choice must not reach codecs that are slow for long
# input, such as `idna`, nor fill the cache of unknown names.
_KNOWN = frozenset(
    {
        *("utf-8", "utf8", "utf-16", "utf-16le", "utf-16be", "utf-32", "us-ascii", "ascii"),
        *("iso-8859-1", "latin1", "latin-1", "iso-8859-2", "iso-8859-15"),
        *(f"windows-{number}" for number in range(1250, 1259)),
        *("euc-kr", "ks_c_5601-1987", "cp949", "shift_jis", "cp932", "euc-jp", "iso-2022-jp"),
        *("gb2312", "gbk", "gb18030", "big5", "koi8-r"),
    }
)


def decoded(raw: bytes, charset: str) -> str | None:
    """Return bytes as text; None for an unknown charset, and for bytes that are none of its text."""
    name = charset.strip().lower()
    if name not in _KNOWN:
        return None
    try:
        return raw.decode(name)
    except UnicodeDecodeError:
        return None
