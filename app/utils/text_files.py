"""Text files that people write with any editor."""

from pathlib import Path

_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_text(file: Path, *, setting: str = "") -> str:
    """Return a file's text, in UTF-8, or in UTF-16 with its mark as PowerShell writes it.

    Raises `ValueError`, in one line that names the file and the setting that names it, for another encoding
    or a file that cannot be read.
    """
    named = f"{setting}={file}" if setting else str(file)
    try:
        data = file.read_bytes()
    except OSError as exc:
        raise ValueError(f"{named} cannot be read: {exc.strerror}") from exc
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        raise ValueError(f"{named}, line {line}: this is no {encoding.upper()}; save it as UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{named} has zero bytes in it; save it as text in UTF-8")
    return text
