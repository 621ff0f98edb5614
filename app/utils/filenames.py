"""File names that strangers send: made harmless to store, and to hand out again."""

import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

MAX_FILENAME_CHARS = 255

OCTETS = "application/octet-stream"
_OFFICE = "application/vnd.openxmlformats-officedocument."

MEDIA_TYPES: Mapping[str, str] = {
    ".c": "text/plain",
    ".cpp": "text/plain",
    ".cs": "text/plain",
    ".css": "text/css",
    ".csv": "text/csv",
    ".doc": "application/msword",
    ".docx": _OFFICE + "wordprocessingml.document",
    ".gif": "image/gif",
    ".go": "text/plain",
    ".html": "text/html",
    ".java": "text/plain",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".pdf": "application/pdf",
    ".php": "text/plain",
    ".pkl": OCTETS,
    ".png": "image/png",
    ".pptx": _OFFICE + "presentationml.presentation",
    ".py": "text/x-python",
    ".rb": "text/plain",
    ".rtf": "application/rtf",
    ".sh": "application/x-sh",
    ".svg": "image/svg+xml",
    ".tar": "application/x-tar",
    ".tex": "text/x-tex",
    ".ts": "text/plain",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".wav": "audio/wav",
    ".webp": "image/webp",
    ".xlsx": _OFFICE + "spreadsheetml.sheet",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
}
"""Media types by extension; fixed here, as the tables of hosts differ."""

IMAGE_EXTENSIONS = frozenset({".gif", ".jpeg", ".jpg", ".png", ".webp"})
"""What models look at, and what browsers show without running anything."""

_ACTIVE = frozenset({"text/html", "text/javascript", "text/css", "image/svg+xml", "application/xml"})
"""What a browser may run or load as part of a page; never handed out under its own type."""

_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make a name read as another one, such as `annexe.exe` as `annexxe.ex`."""


def safe_filename(raw: str) -> str:
    """Return the last component of a name or path; raises `ValueError`, in words for the sender."""
    name = unicodedata.normalize("NFC", raw).replace("\\", "/").rpartition("/")[2].strip()
    # A form has no way to carry a quote that all of its readers understand.
    name = name.replace('"', "'")
    if name in {"", ".", ".."}:
        raise ValueError("the file has no name")
    if len(name) > MAX_FILENAME_CHARS:
        raise ValueError(f"the file's name is longer than {MAX_FILENAME_CHARS} characters")
    if any(unicodedata.category(char) in {"Cc", "Cs"} or char in _BIDI_CONTROLS for char in name):
        raise ValueError("the file's name holds control characters")
    return name


def extension_of(filename: str) -> str:
    """Return the extension in lower case with its dot, empty without one."""
    return PurePosixPath(filename).suffix.lower()


def media_type_of(filename: str) -> str:
    """Return the media type that a name's extension stands for."""
    return MEDIA_TYPES.get(extension_of(filename), OCTETS)


def is_image(filename: str) -> bool:
    """Tell whether a model can look at the file as an image."""
    return extension_of(filename) in IMAGE_EXTENSIONS


def download_headers(filename: str) -> dict[str, str]:
    """Return headers under which a browser can neither run the file nor take it for something else.

    Only raster images are shown in place. Source of the two names: RFC 6266, section 4.3.
    """
    media_type = media_type_of(filename)
    if media_type in _ACTIVE:
        media_type = OCTETS
    elif media_type.startswith("text/"):
        media_type += "; charset=utf-8"
    kind = "inline" if is_image(filename) else "attachment"
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in filename)
    return {
        "content-type": media_type,
        "content-disposition": f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
    }
