"""File names from clients: checks, media types, and safe headers for downloads."""

import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

MAX_FILENAME_CHARS = 255

OCTETS = "application/octet-stream"
_OFFICE = "application/vnd.openxmlformats-officedocument."

# Media types by extension, as the tables of hosts differ.
MEDIA_TYPES: Mapping[str, str] = {
    **dict.fromkeys(
        (".c", ".cpp", ".cs", ".go", ".java", ".log", ".php", ".rb", ".ts", ".txt"), "text/plain"
    ),
    ".css": "text/css",
    ".csv": "text/csv",
    ".doc": "application/msword",
    ".docx": _OFFICE + "wordprocessingml.document",
    ".gif": "image/gif",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".pdf": "application/pdf",
    ".pkl": OCTETS,
    ".png": "image/png",
    ".pptx": _OFFICE + "presentationml.presentation",
    ".py": "text/x-python",
    ".rtf": "application/rtf",
    ".sh": "application/x-sh",
    ".svg": "image/svg+xml",
    ".tar": "application/x-tar",
    ".tex": "text/x-tex",
    ".tsv": "text/tab-separated-values",
    ".wav": "audio/wav",
    ".webp": "image/webp",
    ".xlsx": _OFFICE + "spreadsheetml.sheet",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
}
# Models can look at these, and browsers show them without running anything.
IMAGE_EXTENSIONS = frozenset({".gif", ".jpeg", ".jpg", ".png", ".webp"})
# A browser may run or load these as part of a page, so files are never served under these types.
_ACTIVE = frozenset({"text/html", "text/javascript", "text/css", "image/svg+xml", "application/xml"})
# They make a name look like another one, such as `annexe.exe` like `annexxe.ex`.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe_filename(raw: str) -> str:
    """Return the last component of a name or path; raises `ValueError` with a message for the sender."""
    name = unicodedata.normalize("NFC", raw).replace("\\", "/").rpartition("/")[2].strip()
    # Readers of forms do not agree on how a quote is escaped.
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
    """Return the media type of a name's extension."""
    return MEDIA_TYPES.get(extension_of(filename), OCTETS)


def is_image(filename: str) -> bool:
    """Return whether models can see the file as an image."""
    return extension_of(filename) in IMAGE_EXTENSIONS


def download_headers(filename: str) -> dict[str, str]:
    """Return headers that keep browsers from running the file or guessing another type.

    Only raster images are shown inline. RFC 6266, section 4.3, asks for both forms of the name. A long name
    loses its start, as its end says what kind of file it is.
    """
    filename = filename[-MAX_FILENAME_CHARS:]
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
