"""Types of settings: how the spellings that people use are read, and what is refused.

Validators raise `ValueError` with what to write instead; `app/core/setting_errors.py` adds name and value.
"""

import base64
import ipaddress
import json
import re
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from app.models.sessions import SESSION_PREFIX
from app.utils.hosts import ascii_host, browser_origin, is_http_url
from app.utils.zones import zone_of

# Straight ones, and those that word processors make of them.
_QUOTES = "\"'«»\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f"
_AROUND = _QUOTES + " \t\r\n"
_SEPARATOR = re.compile(r"[,\n]")
_KEYS_FORM = 'write name=key,name2=key2, or as JSON \'{"name": "key", "name2": ["key", "next key"]}\''
_LIST_FORM = 'write a,b or as JSON \'["a", "b"]\''
_MIN_SECRET_CHARS = 32
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}\Z")
_NAME = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"
_HOST = re.compile(rf"(\*\.)?{_NAME}\Z|\[[0-9a-f:.]+\]\Z")
_FILE_TYPE = re.compile(r"\*\Z|[a-z0-9_+-]+(\.[a-z0-9_+-]+)*\Z")
# What people copy from examples of other clients, which add it to the address themselves.
_CALLED = re.compile(r"/(responses|conversations|chat/completions|completions)/?\Z")


def tidied(text: str) -> str:
    """Return a value without the blanks and the pairs of quotes, straight or typographic, round it."""
    text = text.strip()
    while len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        text = text[1:-1].strip()
    return text


def _read_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = tidied(value)
    with suppress(ValueError):
        if isinstance(found := json.loads(text), list):
            return found
    if text.count("[") != text.count("]"):
        raise ValueError(f"is no whole list: {_LIST_FORM}")
    # JSON whose double quotes a shell took away, or that has single ones.
    text = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return [item for part in _SEPARATOR.split(text) if (item := part.strip(_AROUND))]


def _read_tools(value: object) -> object:
    found = _read_list(value) if not _is_json(value) else json.loads(str(value))
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list):
        return found
    return [{"type": tool} if isinstance(tool, str) else tool for tool in found]


def _is_json(value: object) -> bool:
    """Return whether a value begins like JSON; raises `ValueError` for text that begins so and is none."""
    if not isinstance(value, str) or "{" not in value:
        return False
    try:
        json.loads(value)
    except ValueError as exc:
        raise ValueError(
            f'is no JSON ({exc}): write \'[{{"type": "file_search"}}]\' with single quotes round it'
        ) from None
    return True


def _read_keys(value: object) -> object:
    found = _keys_in(tidied(value)) if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise ValueError(_KEYS_FORM)  # noqa: TRY004 - pydantic reports no TypeError
    return {name: keys if isinstance(keys, list) else [keys] for name, keys in found.items()}


def _keys_in(text: str) -> object:
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError(f"is no JSON, perhaps as a shell took the double quotes: {_KEYS_FORM}") from None
    keys: dict[str, list[str]] = {}
    for part in filter(None, map(str.strip, _SEPARATOR.split(text))):
        name, _, key = part.partition("=")
        if not key.strip("="):  # a bare key may end with the padding of base64
            raise ValueError(_KEYS_FORM)
        keys.setdefault(tidied(name), []).append(key)
    return keys


def _sendable(text: str) -> str:
    """Return a text trimmed; refuses what no header can carry, such as the dots of a shortened key."""
    text = tidied(text)
    if not text:
        raise ValueError("is empty; copy it again")
    for char in text:
        if not "!" <= char <= "~":
            name = unicodedata.name(char, "a control character")
            raise ValueError(f"has U+{ord(char):04X} ({name}) in it, which cannot be sent; copy it again")
    return text


def _sendable_key(secret: SecretStr) -> SecretStr:
    return SecretStr(_sendable(secret.get_secret_value()))


def _api_key(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if text.startswith("sha256:") and not _DIGEST.match(text):
        raise ValueError("after sha256: come 64 hex digits")
    # The prefix decides whether a credential is read as a session or as a key.
    if text.startswith(SESSION_PREFIX):
        raise ValueError(f"keys must not begin with {SESSION_PREFIX}, as sessions do")
    return secret


def _long(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < _MIN_SECRET_CHARS:
        raise ValueError(
            f"needs at least {_MIN_SECRET_CHARS} characters; make one with: openssl rand -hex 32"
        )
    return secret


def _webhook_secret(secret: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not 24 <= len(key) <= 64:  # the bounds of the specification
        raise ValueError(
            'is no base64 of 24 to 64 bytes; make one with: echo "whsec_$(openssl rand -base64 32)"'
        )
    return secret


def _url(text: str) -> str:
    if re.search(r"\s", text) or not is_http_url(text):
        raise ValueError("must be a whole http(s) URL; write one such as https://example.com")
    return text


def _base_url(text: str) -> str:
    if found := _CALLED.search(text):
        raise ValueError(f"ends with {found[1]}, which is added for each call; leave it out: …/v1")
    if re.search(r"[?#]", text):
        raise ValueError("has a query, which has no place here; leave ? and all after it out")
    return text


def _page_url(text: str) -> str:
    if re.match(r"/\S*\Z", text):
        return text
    try:
        return _url(text)
    except ValueError as exc:
        raise ValueError(f"{exc}, or a path such as /session") from None


def _listened(text: str) -> str:
    """Return an address to listen on; IPv6 may have brackets, as in URLs."""
    host = text.removeprefix("[").removesuffix("]")
    with suppress(ValueError):
        return str(ipaddress.ip_address(host))
    if not re.fullmatch(_NAME, host):
        raise ValueError("is no address: write 127.0.0.1, 0.0.0.0 or ::1, without scheme and port")
    return host


def _network(text: str) -> str:
    network = re.sub(r"[\[\]]", "", text)
    try:
        ipaddress.ip_network(network, strict=False)
    except ValueError:
        raise ValueError(
            "is no address or network: write 10.0.0.0/8,::1 or as JSON '[\"10.0.0.0/8\"]'"
        ) from None
    return network


def _host_name(text: str) -> str:
    star, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    with suppress(ValueError):
        host = star + ascii_host(name.strip("[]"))
        if _HOST.match(host):
            return host
    raise ValueError("is no host name: write example.com or *.example.com, without scheme and port")


def _file_type(text: str) -> str:
    name = text.lower().removeprefix("*").removeprefix(".") or "*"
    if not _FILE_TYPE.match(name):
        raise ValueError('is no file extension: write pdf,txt or as JSON \'["pdf", "txt"]\'; * takes all')
    return name


def _storage(secret: SecretStr) -> SecretStr:
    if not re.match(r"memory://\Z|rediss?://.", secret.get_secret_value()):
        raise ValueError("must be memory:// or redis://host:port/db")
    return secret


def _store(secret: SecretStr) -> SecretStr:
    text = re.sub(r"\Apostgres(ql)?(\+\w+)?://", "postgresql://", secret.get_secret_value())
    if not re.match(r"postgresql://.|sqlite:///.", text):
        raise ValueError("must be sqlite:///path/file.db or postgresql://user:password@host/database")
    return SecretStr(text)


def _expanded(text: str) -> str:
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise ValueError("begins with ~, and there is no such home; write the whole path") from None


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("names no file")
    return path


TextList = Annotated[list[str], BeforeValidator(_read_list)]
AnyList = BeforeValidator(_read_list)
Tools = Annotated[list[dict[str, Any]], BeforeValidator(_read_tools)]

HeaderText = Annotated[str, AfterValidator(_sendable)]
HeaderKey = Annotated[SecretStr, AfterValidator(_sendable_key)]
KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_ApiKeys = Annotated[list[Annotated[HeaderKey, AfterValidator(_api_key)]], Field(min_length=1)]
ApiKeys = Annotated[dict[KeyName, _ApiKeys], BeforeValidator(_read_keys)]
LongSecret = Annotated[SecretStr, AfterValidator(_long)]
WebhookSecret = Annotated[HeaderKey, AfterValidator(_webhook_secret)]

HttpUrl = Annotated[str, AfterValidator(_url)]
BaseUrl = Annotated[HttpUrl, AfterValidator(_base_url)]
PageUrl = Annotated[str, AfterValidator(_page_url)]
StorageUrl = Annotated[SecretStr, AfterValidator(_storage)]
StoreUrl = Annotated[SecretStr, AfterValidator(_store)]

ListenHost = Annotated[str, AfterValidator(_listened)]
Origins = Annotated[list[Annotated[str, AfterValidator(browser_origin)]], AnyList]
Networks = Annotated[list[Annotated[str, AfterValidator(_network)]], AnyList]
HostNames = Annotated[list[Annotated[str, AfterValidator(_host_name)]], AnyList]
FileTypes = Annotated[list[Annotated[str, AfterValidator(_file_type)]], AnyList]

FileName = Annotated[str, AfterValidator(_expanded)]
LocalPath = Annotated[Path, AfterValidator(lambda path: Path(_expanded(str(path))))]
ExistingFile = Annotated[LocalPath, AfterValidator(_existing)]


def _check_zone(name: str) -> str:
    try:
        zone_of(name)
    except (KeyError, ValueError, OSError) as exc:
        raise ValueError("is no time zone; write one as in UTC or Asia/Seoul") from exc
    return name


TimeZone = Annotated[str, BeforeValidator(tidied), AfterValidator(_check_zone)]
