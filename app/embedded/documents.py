"""The guide's own documents: README.md, its translations and docs/, read once at start."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Document:
    """One Markdown file."""

    file_id: str
    """Made of the name, so it stays the same over restarts and on every replica."""
    filename: str
    """Relative to the folder, as in `docs/PARITY.md`."""
    path: Path
    text: str
    modified_at: int
    """Unix seconds."""


def read_documents(folder: Path) -> dict[str, Document]:
    """The documents under `folder` by file id; unreadable and absent ones are left out."""
    readmes = [folder / "README.md", *sorted(folder.glob("README.*.md"))]
    paths = [*readmes, *sorted((folder / "docs").glob("**/*.md"))]
    found = (_read(path, path.relative_to(folder).as_posix()) for path in paths if path.is_file())
    return {document.file_id: document for document in found}


def _read(path: Path, filename: str) -> Document:
    text = path.read_text(encoding="utf-8", errors="replace")
    digest = hashlib.sha256(filename.encode()).hexdigest()[:24]
    return Document(f"file-{digest}", filename, path, text, int(path.stat().st_mtime))
