"""Names of files that strangers send."""

import pytest

from app.core.config import DEFAULT_UPLOAD_TYPES
from app.utils.filenames import (
    IMAGE_EXTENSIONS,
    MEDIA_TYPES,
    OCTETS,
    download_headers,
    extension_of,
    media_type_of,
    safe_filename,
)


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("a.txt", "a.txt"),
        ("../../../etc/passwd", "passwd"),
        ("C:\\temp\\a.txt", "a.txt"),
        ("..\\..\\a.txt", "a.txt"),
        ('say "hi".txt', "say 'hi'.txt"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("日本語.csv", "日本語.csv"),
        (" a ", "a"),
    ],
)
def test_names_become_safe(raw, safe):
    assert safe_filename(raw) == safe


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        ".",
        "..",
        "a/",
        "a/..",
        "a\x00b",
        "a\nb",
        "a\x7fb",
        "a\u202eb",
        "a\u0085b",
        "\ud800",
        "n" * 256,
    ],
)
def test_names_are_refused(raw):
    with pytest.raises(ValueError, match="file"):
        safe_filename(raw)


def test_a_header_cannot_be_broken_out_of():
    headers = download_headers('a"b\\c%d;é\u2028.html')
    assert headers["content-disposition"] == (
        "attachment; filename=\"a_b_c_d;__.html\"; filename*=UTF-8''a%22b%5Cc%25d%3B%C3%A9%E2%80%A8.html"
    )
    assert headers["content-type"] == OCTETS


def test_only_raster_images_are_shown_in_place():
    shown = {
        extension
        for extension in MEDIA_TYPES
        if download_headers(f"a{extension}")["content-disposition"].startswith("inline")
    }
    assert shown == IMAGE_EXTENSIONS
    served = {
        download_headers(f"a{extension}")["content-type"].partition(";")[0] for extension in MEDIA_TYPES
    }
    assert not served & {"text/html", "text/javascript", "text/css", "image/svg+xml", "application/xml"}


def test_extensions_tell_the_media_type():
    assert media_type_of("A.PNG") == "image/png"
    assert media_type_of("a.tar.gz") == OCTETS
    assert extension_of("Makefile") == ""
    assert {f".{name}" for name in DEFAULT_UPLOAD_TYPES} <= set(MEDIA_TYPES)
