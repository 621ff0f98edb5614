"""Texts that take a careless reader of Markdown time by the square of their length."""


def _filled(piece: str, size: int) -> str:
    return piece * (size // len(piece))


def _growing(piece: str, line: str, size: int) -> str:
    """Lines of one more piece each."""
    return "\n".join(piece * (depth + 1) + line for depth in range(int((2 * size / len(piece)) ** 0.5)))


def hostile(size: int) -> dict[str, str]:
    """Return the texts by their names, each of about so many characters."""
    half = size // 2
    columns = 5_000
    pieces = [
        "**a ",
        "_a __b ",
        "~a ~~b ",
        "[",
        "![",
        "<",
        "<a ",
        "[a](",
        "[a](<",
        "[a](b 'c",
        "[^a]",
        "`a ``b ",
        "\\",
        "&amp",
    ]
    pieces += [
        "$$",
        "$$a",
        "\\(",
        "\\(a\\) ",
        "\\[a\\]\n\n",
        "\\[a\n",
        "a@",
        "a.b@c.",
        "www.",
        "http://a.b ",
        "https://a/(",
        "【a",
        "- a\n",
        "[a]: b\n",
    ]
    pieces += [
        "a\n",
        "a\n\n",
        "> a\n",
        "1. a\n\n",
        "|",
        "```\na\n```\n",
        "[^a]: b\n",
        "\t",
        "\u05d0 a",
        "* * ",
        "---\n",
        "word ",
    ]
    return {repr(piece): _filled(piece, size) for piece in pieces} | {
        "pairs": "*" * half + "a" + "*" * half,
        "brackets": "[" * half + "]" * half,
        "ticks": _growing("`", " ", size),
        "columns": "|a" * columns + "\n" + "|-" * columns + "\n" + "|a" * columns,
        "rows": "|a|b|\n|-|-|\n" + _filled("|c|d|\n", size),
        "narrow rows": "|a" * 200 + "\n" + "|-" * 200 + "\n" + _filled("|\n", size),
        "quotes": ">" * columns + "a",
        "quoted lines": _growing(">", "a", size),
        "lists": "- " * columns + "a",
        "numbers": "1. " * columns + "a",
        "nested lists": _growing("  ", "- a", size),
        "tabbed lists": _growing("\t", "- a", size),
        "quotes after code": "```\na\n```\n " + ">" * columns,
        "open code": "```js\n" + _filled("let x = '", size),
        "indented code": _filled("    a\n\n", size),
        "exclamations": "https://a.b/" + "!" * size,
        "entities": "https://a.b/" + _filled("&a;", size),
        "parentheses": "https://a.b/" + "(" * half + ")" * half,
        "one word": "a" * size,
        "one formula": "$$\n" + "{" * 1_200 + "}" * 1_200 + "\n$$",
        "macros": "\\[\n\\def\\a{" + "x" * 1_000 + "}" + "\\a" * 400 + "\n\\]",
        "definition and brackets": "[a]: b\n\n" + _filled("[a]", size),
        "long text": _filled("word ", 200_000),
        "long lines": _filled("Some **bold** words and `code`.\n\n", 200_000),
    }
