"""Settings as people type them into an environment: what is taken, and the one line for what is not."""

import re

import pytest
from pydantic import SecretStr, ValidationError

from app.core.config import Settings
from app.core.setting_errors import lines_of
from app.server.hints import hints_of, meant_by

CONDA = "x86_64-conda-linux-gnu"
HOST_HINT = (
    f"HOST={CONDA} is what conda calls this platform, and is not heeded; the service listens on 127.0.0.1."
)
LONG, LONGER = "a" * 32, "b" * 40


@pytest.fixture
def setting(monkeypatch, tmp_path):
    """Read settings from an environment that holds nothing else, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def read(**values: str) -> Settings:
        with monkeypatch.context() as patch:
            for name in [*Settings.model_fields, "http_proxy", "https_proxy", "all_proxy"]:
                patch.delenv(name.upper(), raising=False)
                patch.delenv(name, raising=False)
            for name, value in values.items():
                patch.setenv(name, value)
            return Settings()

    return read


def plain(value):
    """A value with its secrets written out."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list):
        return [plain(each) for each in value]
    return {name: plain(each) for name, each in value.items()} if isinstance(value, dict) else value


# fmt: off
TAKEN = [
    ("CORS_ORIGINS", "http://a.test,http://b.test", ["http://a.test", "http://b.test"]),
    ("CORS_ORIGINS", "http://a.test,\nhttp://b.test ,", ["http://a.test", "http://b.test"]),
    ("CORS_ORIGINS", '["http://a.test"]', ["http://a.test"]),
    ("CORS_ORIGINS", "['http://a.test', 'http://b.test']", ["http://a.test", "http://b.test"]),
    ("CORS_ORIGINS", "[http://a.test]", ["http://a.test"]),
    ("CORS_ORIGINS", '"http://a.test","http://b.test"', ["http://a.test", "http://b.test"]),
    ("CORS_ORIGINS", "https://a.test:443,http://a.test:80", ["https://a.test", "http://a.test"]),
    ("CORS_ORIGINS", "https://a.test:8443", ["https://a.test:8443"]),
    ("CORS_ORIGINS", "https://münchen.example", ["https://xn--mnchen-3ya.example"]),
    ("CORS_ORIGINS", "https://straße.example", ["https://xn--strae-oqa.example"]),
    ("CORS_ORIGINS", "HTTPS://A.Test/", ["https://a.test"]),
    ("CORS_ORIGINS", "http://[::1]:3000", ["http://[::1]:3000"]),
    ("TRUSTED_PROXIES", "10.0.0.0/8, ::1,[fe80::1]", ["10.0.0.0/8", "::1", "fe80::1"]),
    ("TRUSTED_HOSTS", "a.test, *.b.test,[::1]", ["a.test", "*.b.test", "[::1]"]),
    ("TRUSTED_HOSTS", "[::1],[::2]", ["[::1]", "[::2]"]),
    ("TRUSTED_HOSTS", "*.münchen.example", ["*.xn--mnchen-3ya.example"]),
    ("ALLOWED_UPLOAD_TYPES", "pdf,.TXT,*.md", ["pdf", "txt", "md"]),
    ("ALLOWED_UPLOAD_TYPES", "*", ["*"]),
    ("SECRET_KEYS", f"{LONG},{LONGER}", [LONG, LONGER]),
    ("ASSISTANT_VECTOR_STORES", "vs_1, vs_2", ["vs_1", "vs_2"]),
    ("JWT_ALGORITHMS", "RS256,ES256", ["RS256", "ES256"]),
    ("ASSISTANT_TOOLS", "file_search,x", [{"type": "file_search"}, {"type": "x"}]),
    ("ASSISTANT_TOOLS", '{"type": "file_search"}', [{"type": "file_search"}]),
    ("API_KEYS", "web=abc==,app=x=y", {"web": ["abc=="], "app": ["x=y"]}),
    ("API_KEYS", "web=one, web=two", {"web": ["one", "two"]}),
    ("API_KEYS", '{"web": ["one", "two"], "app": "three"}', {"web": ["one", "two"], "app": ["three"]}),
    ("OPENAI_API_KEY", "sk-abc\r\n", "sk-abc"),
    ("OPENAI_API_KEY", "\u201csk-abc\u201d", "sk-abc"),
    ("OPENAI_API_KEY", '"sk-abc"', "sk-abc"),
    ("OPENAI_BASE_URL", " http://a.test/v1 ", "http://a.test/v1"),
    ("OPENAI_BASE_URL", "'http://a.test'", "http://a.test"),
    ("LOG_LEVEL", "INFO", "info"),
    ("UPSTREAM_BACKGROUND", "Never", "never"),
    ("DEBUG", "yes", True),
    ("DEBUG", "Off", False),
    ("DEBUG", "   ", False),
    ("PORT", "8_020", 8020),
    ("PORT", '""', 8010),
    ("SHUTDOWN_GRACE_SECONDS", "2.5", 2.5),
    ("HOST", "[::1]", "::1"),
    ("HOST", "x86_64-conda-linux-gnu", "127.0.0.1"),
    ("HOST", "arm64-apple-darwin20.0.0", "127.0.0.1"),
    ("PLAYGROUND_TOKEN_URL", "/session", "/session"),
    ("ASSISTANT_INSTRUCTIONS", '"Say ${NAME}" # twice', '"Say ${NAME}" # twice'),
    ("ASSISTANT_NAME", '"Bob"', "Bob"),
]
WHOLE = "write a whole number without a unit"
ORIGIN = "must be an origin such as https://example.com, without a path"
STAR = "must be one origin: name each, as https://a.example or '[\"https://a.example\"]'"
URL = "must be a whole http(s) URL; write one such as https://example.com"
NETWORK = "is no address or network: write 10.0.0.0/8,::1 or as JSON '[\"10.0.0.0/8\"]'"
ADDRESS = "is no address: write 127.0.0.1, 0.0.0.0 or ::1, without scheme and port (default 127.0.0.1)"
HOST_NAME = "is no host name: write example.com or *.example.com, without scheme and port"
KEYS = 'write name=key,name2=key2, or as JSON \'{"name": "key", "name2": ["key", "next key"]}\''
LIST = "is no whole list: write a,b or as JSON '[\"a\", \"b\"]'"
SHORT = "needs at least 32 characters; make one with: openssl rand -hex 32"
NO_FILE = "names no file"
FILE_TYPE = "is no file extension: write pdf,txt or as JSON '[\"pdf\", \"txt\"]'; * takes all"
UNSENT = "in it, which cannot be sent; copy it again"
REFUSED = [
    ("CORS_ORIGINS", "*", f" (entry 1)='*': {STAR}"),
    ("CORS_ORIGINS", "https://*.a.test", f" (entry 1)='https://*.a.test': {STAR}"),
    ("CORS_ORIGINS", "http://a.test,b.test", f" (entry 2)='b.test': {ORIGIN}"),
    ("CORS_ORIGINS", "http://a.test http://b.test", f" (entry 1)='http://a.test http://b.test': {ORIGIN}"),
    ("CORS_ORIGINS", "https://a.test/path", f" (entry 1)='https://a.test/path': {ORIGIN}"),
    ("CORS_ORIGINS", "https://u:p@a.test", f" (entry 1)='https://***@a.test': {ORIGIN}"),
    ("CORS_ORIGINS", '["http://a.test"', f"='[\"http://a.test\"': {LIST}"),
    ("CORS_ORIGINS", "[1]", " (entry 1)=1: write each as text in double quotes"),
    ("TRUSTED_PROXIES", "proxy", f" (entry 1)='proxy': {NETWORK}"),
    ("TRUSTED_PROXIES", "10.0.0.0/8,*", f" (entry 2)='*': {NETWORK}"),
    ("TRUSTED_HOSTS", "https://a.test", f" (entry 1)='https://a.test': {HOST_NAME}"),
    ("TRUSTED_HOSTS", "a.test:80", f" (entry 1)='a.test:80': {HOST_NAME}"),
    ("ALLOWED_UPLOAD_TYPES", "application/pdf",
     f" (entry 1)='application/pdf': {FILE_TYPE}"),
    ("JWT_ALGORITHMS", "RS1", re.compile(r" \(entry 1\)='RS1': write 'HS256', .* or 'EdDSA'")),
    ("API_KEYS", "secret", f"=***: {KEYS}"),
    ("API_KEYS", "c2VjcmV0==", f"=***: {KEYS}"),
    ("API_KEYS", '["secret"]', f"=***: {KEYS}"),
    ("API_KEYS", "{web: secret}", f"=***: is no JSON, perhaps as a shell took the double quotes: {KEYS}"),
    ("API_KEYS", '{"web": 17}', " (web, entry 1)=***: write each as text in double quotes"),
    ("API_KEYS", '{"web": []}', " (web)=***: has no key"),
    ("API_KEYS", "my web=secret", " (my web)=***: write 1 to 64 letters, digits, _ or -"),
    ("API_KEYS", "web=ss_secret", " (web, entry 1)=***: keys must not begin with ss_, as sessions do"),
    ("API_KEYS", "web=sha256:12", " (web, entry 1)=***: after sha256: come 64 hex digits"),
    ("API_KEYS", "web=schlüssel",
     f" (web, entry 1)=***: has U+00FC (LATIN SMALL LETTER U WITH DIAERESIS) {UNSENT}"),
    ("SECRET_KEYS", "short", f" (entry 1)=***: {SHORT}"),
    ("SECRET_KEYS", f"{LONG},short", f" (entry 2)=***: {SHORT}"),
    ("SECRET_KEYS", f'["{LONG}"', f"=***: {LIST}"),
    ("OPENAI_API_KEY", "sk-…",
     f"=***: has U+2026 (HORIZONTAL ELLIPSIS) {UNSENT}"),
    ("OPENAI_API_KEY", "sk-a\nsk-b", f"=***: has U+000A (a control character) {UNSENT}"),
    ("OPENAI_API_KEY", "sk abc", f"=***: has U+0020 (SPACE) {UNSENT}"),
    ("OPENAI_PROJECT", "my project", f"='my project': has U+0020 (SPACE) {UNSENT}"),
    ("METRICS_TOKEN", "a b", f"=***: has U+0020 (SPACE) {UNSENT}"),
    ("OPENAI_BASE_URL", "localhost:9/v1", f"='localhost:9/v1': {URL}"),
    ("OPENAI_BASE_URL", "http://a.test/v 1", f"='http://a.test/v 1': {URL}"),
    ("OPENAI_BASE_URL", "http://me:secret@a.test:x", f"='http://***@a.test:x': {URL}"),
    ("OPENAI_BASE_URL", "http://a.test/v1/responses",
     "='http://a.test/v1/responses': ends with responses, which is added for each call; leave it out: …/v1"),
    ("OPENAI_BASE_URL", "http://a.test/v1?key=1",
     "='http://a.test/v1?key=1': has a query, which has no place here; leave ? and all after it out"),
    ("PUBLIC_URL", "example.com", f"='example.com': {URL}"),
    ("JWT_JWKS_URL", "example.com", f"='example.com': {URL}"),
    ("PLAYGROUND_TOKEN_URL", "session", f"='session': {URL}, or a path such as /session"),
    ("LOG_LEVEL", "verbose", "='verbose': write 'debug', 'info', 'warning' or 'error' (default info)"),
    ("AUTH_MODE", "basic", "='basic': write 'none', 'api_key' or 'jwt' (default none)"),
    ("PORT", "abc", f"='abc': {WHOLE} (default 8010)"),
    ("PORT", "80.5", f"='80.5': {WHOLE} (default 8010)"),
    ("PORT", "99999", "='99999': write 65535 or less (default 8010)"),
    ("PORT", "-1", "='-1': write 0 or more (default 8010)"),
    ("MAX_UPLOAD_BYTES", "512MB", f"='512MB': {WHOLE} (default 536870912)"),
    ("MAX_STREAMS", "0", "='0': write 1 or more (default 10000)"),
    ("SHUTDOWN_GRACE_SECONDS", "10s", "='10s': write a number without a unit (default 20)"),
    ("SHUTDOWN_GRACE_SECONDS", "0", "='0': write a number above 0 (default 20)"),
    ("SHUTDOWN_GRACE_SECONDS", "nan", "='nan': write 86400 or less (default 20)"),
    ("REQUEST_TIMEOUT_SECONDS", "inf", "='inf': write 86400 or less (default 30)"),
    ("ASSISTANT_TEMPERATURE", "0,5", "='0,5': write a number without a unit"),
    ("ASSISTANT_TEMPERATURE", "3", "='3': write 2 or less"),
    ("DEBUG", "maybe", "='maybe': write true or false (default false)"),
    ("ASSISTANT_ID", "my assistant", "='my assistant': write 1 to 64 letters, digits, _ or -"),
    ("ASSISTANT_TOOLS", "[{type: function}]", re.compile(r"='.*': is no JSON \(.*\): write '\[")),
    ("ASSISTANT_TOOLS", "[1]", ' (entry 1)=1: write JSON objects, such as {"type": "file_search"}'),
    ("HOST", "http://127.0.0.1", f"='http://127.0.0.1': {ADDRESS}"),
    ("HOST", "127.0.0.1:80", f"='127.0.0.1:80': {ADDRESS}"),
    ("HOST", "*", f"='*': {ADDRESS}"),
    ("RATE_LIMIT_CHAT", "60",
     "='60': '60' is no limit; write one such as 60/minute or 10/second (default 300/minute)"),
    ("RATE_LIMIT_STORAGE", "localhost:6379", "=***: must be memory:// or redis://host:port/db"),
    ("ASSISTANT_FILE", "/nowhere.json", f"='/nowhere.json': {NO_FILE}"),
    ("ASSISTANT_FILE", "/", f"='/': {NO_FILE}"),
    ("PRICES_FILE", "none.json", f"='none.json': {NO_FILE}"),
    ("LOG_FILE", "~nobody-here/app.log",
     "='~nobody-here/app.log': begins with ~, and there is no such home; write the whole path"),
]
# fmt: on


@pytest.mark.parametrize(("name", "text", "value"), TAKEN)
def test_it_is_taken(setting, name, text, value):
    assert plain(getattr(setting(**{name: text}), name.lower())) == value


@pytest.mark.parametrize(("name", "text", "said"), REFUSED)
def test_it_is_refused_in_one_line(setting, name, text, said):
    with pytest.raises(ValidationError) as caught:
        setting(**{name: text})
    (line,) = lines_of(caught.value, Settings)
    assert "\n" not in line
    assert line.startswith(name)
    rest = line.removeprefix(name)
    assert said.match(rest) if isinstance(said, re.Pattern) else rest == said


def test_all_are_named_at_once_and_no_secret_is_shown(setting):
    wrong = {"PORT": "abc", "CORS_ORIGINS": "x,y", "SECRET_KEYS": "canary", "API_KEYS": "web=canary\u2026"}
    with pytest.raises(ValidationError) as caught:
        setting(**wrong)
    names = [re.split("[ =]", line)[0] for line in lines_of(caught.value, Settings)]
    assert names == ["PORT", "API_KEYS", "SECRET_KEYS", "CORS_ORIGINS", "CORS_ORIGINS"]
    assert "canary" not in str(lines_of(caught.value, Settings)) + str(caught.value)


def test_contradictions_are_named_at_once(setting):
    with pytest.raises(ValidationError) as caught:
        setting(AUTH_MODE="api_key", AZURE_OPENAI_KEY="key", PLAYGROUND_SESSIONS="true")
    words = ["AZURE_OPENAI_ENDPOINT", "SECRET_KEYS", "API_KEYS", "PLAYGROUND_SESSIONS"]
    lines = lines_of(caught.value, Settings)
    assert [word in line for word, line in zip(words, lines, strict=True)] == [True] * 4


def test_bytes_that_are_no_text_are_refused(setting):
    with pytest.raises(ValueError, match=r"\AASSISTANT_NAME is no text in UTF-8; set it anew\Z"):
        setting(ASSISTANT_NAME="M\udcfcller")


def test_the_home_folder_is_written_out(setting, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "assistant.json").write_text("{}")
    found = setting(ASSISTANT_FILE="~/assistant.json", EMBEDDED_DB="~/x.db", LOG_FILE="~/app.log")
    assert found.assistant_file == tmp_path / "assistant.json"
    assert (found.embedded_db, found.log_file) == (str(tmp_path / "x.db"), tmp_path / "app.log")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ("OPENAI-API-KEY", "OPENAI_API_KEY"),
        ("OPENAI_API_BASE", "OPENAI_BASE_URL"),
        ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_KEY"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("ASSISTANT_INSTRUCTION", "ASSISTANT_INSTRUCTIONS"),
        ("ASSISTANT_VECTOR_STORE_IDS", "ASSISTANT_VECTOR_STORES"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("API_KEY", "API_KEYS"),
        ("PATH", None),
        ("HOME", None),
        ("HOSTNAME", None),
        ("HOSTS", None),
        ("HTTPS_PROXY", None),
        ("SSL_CERT_FILE", None),
        ("OTEL_SERVICE_NAME", None),
        ("ANTHROPIC_API_KEY", None),
        ("DATABASE_URL", None),
        ("COMPOSE_PROJECT_NAME", None),
    ],
)
def test_names_close_to_a_setting_are_known_as_such(name, meant):
    assert meant_by(name) == meant


def test_hints_name_typos_and_settings_without_effect(setting, monkeypatch, tmp_path):
    (tmp_path / "assistant.json").write_text('{"object": "assistant", "instruction": "Obey.", "extra": 1}')
    (tmp_path / ".env").write_text(
        "CORS_ORIGIN=https://a.test\nCOMPOSE_FILE=x\nAPI_KEYS=web=key\nASSISTANT_FILE=assistant.json\n"
    )
    settings = setting(OPENAI_BASE_URL="http://a.test", OPENAI_API_KEY="key")
    # Whoever set the setting too did not mistake its name.
    for name, value in {
        "OPENAI_KEY": "key",
        "OPENAI_API_KEY": "key",
        "ASSISTANT_INSTRUCTION": "Obey.",
        "HOST": CONDA,
    }.items():
        monkeypatch.setenv(name, value)
    assert hints_of(settings) == [
        "ASSISTANT_INSTRUCTION in the environment is no setting; did you mean ASSISTANT_INSTRUCTIONS?",
        "CORS_ORIGIN in .env is no setting; did you mean CORS_ORIGINS?",
        "API_KEYS is set, but AUTH_MODE=none lets everybody in; set AUTH_MODE=api_key to use the keys.",
        HOST_HINT,
        "OPENAI_BASE_URL=http://a.test has no path; most servers answer below /v1.",
        "ASSISTANT_FILE=assistant.json: the key 'instruction' is ignored; did you mean instructions?",
        "ASSISTANT_FILE=assistant.json: the key 'extra' is ignored.",
    ]
