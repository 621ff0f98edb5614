"""Settings that contradict each other stop the start in one clear line; the others choose the upstream."""

import pytest
from pydantic import ValidationError

from app.core.config import Settings
from app.core.setting_errors import lines_of
from app.core.upstream.target import target_of
from tests.support import make_settings

AZURE = {"azure_openai_endpoint": "https://name.openai.azure.com", "azure_openai_key": "key"}


def refused(**changes):
    """The one line that a set of settings is refused with."""
    with pytest.raises(ValidationError) as caught:
        make_settings(**changes)
    (line,) = lines_of(caught.value, Settings)
    return line


class TestContradictions:
    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({**AZURE, "openai_api_key": "key"}, "OPENAI_API_KEY"),
            ({**AZURE, "openai_base_url": "https://a.test/v1"}, "OPENAI_BASE_URL"),
            ({"moderation": "block"}, "MODERATION=block"),
            ({"azure_openai_endpoint": AZURE["azure_openai_endpoint"]}, "AZURE_OPENAI_KEY"),
            ({"azure_openai_key": "key"}, "AZURE_OPENAI_ENDPOINT"),
            ({"openai_base_url": "a.test/v1"}, "OPENAI_BASE_URL"),
            ({"openai_base_url": "ftp://a.test/v1"}, "OPENAI_BASE_URL"),
            ({"openai_base_url": "http://a.test:99999/v1"}, "OPENAI_BASE_URL"),
            ({"openai_base_url": "http://a.test:abc/v1"}, "OPENAI_BASE_URL"),
            ({"openai_base_url": "http://[a.test/v1"}, "OPENAI_BASE_URL"),
            ({"secret_keys": ["short"]}, "SECRET_KEYS"),
            ({"host": "0.0.0.0"}, "AUTH_MODE"),
            ({"cors_origins": ["https://a.test/path"]}, "CORS_ORIGINS"),
            ({"cors_origins": ["*"]}, "CORS_ORIGINS"),
        ],
    )
    def test_each_names_the_setting(self, changes, named):
        assert named in refused(**changes)

    def test_no_key_is_repeated(self):
        text = refused(**AZURE, openai_api_key="canary-key-1")
        assert "canary" not in text
        assert "canary" not in refused(secret_keys=["canary"])

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
    def test_this_machine_alone_needs_no_credentials(self, host):
        assert make_settings(host=host).host == host

    def test_an_operator_can_open_the_doors_on_purpose(self):
        assert make_settings(host="0.0.0.0", allow_anonymous=True).allow_anonymous


class TestUpstreams:
    @pytest.mark.parametrize(
        ("changes", "kind", "base_url"),
        [
            ({}, "embedded", "http://127.0.0.1:1/v1"),
            ({"openai_api_key": "key"}, "openai", "https://api.openai.com/v1"),
            ({"openai_base_url": "http://a.test/v1/"}, "custom", "http://a.test/v1"),
            (AZURE, "azure", "https://name.openai.azure.com/openai/v1"),
            (
                {**AZURE, "azure_openai_endpoint": "https://name.openai.azure.com/openai/v1/"},
                "azure",
                "https://name.openai.azure.com/openai/v1",
            ),
        ],
    )
    def test_settings_alone_choose_it(self, changes, kind, base_url):
        target = target_of(make_settings(**changes), "http://127.0.0.1:1/v1")
        assert (target.kind, target.base_url) == (kind, base_url)
        assert "key" not in repr(target).replace("base_url", "")

    def test_a_server_without_a_key_gets_a_bearer_that_is_none(self):
        target = target_of(make_settings(openai_base_url="http://a.test/v1"))
        assert target.auth_headers["authorization"] == "Bearer none"

    @pytest.mark.parametrize("name", ["openai_api_key", "azure_openai_key"])
    def test_a_key_from_a_file_loses_its_line_end(self, name):
        settings = {"openai_api_key": "key"} if name == "openai_api_key" else AZURE
        target = target_of(make_settings(**{**settings, name: "key\r\n"}))
        assert set(target.auth_headers.values()) <= {"Bearer key", "key"}


class TestEnvironment:
    def test_it_is_read_by_the_names_in_lower_case(self, tmp_path):
        env = tmp_path / "service.env"
        env.write_text('POLL_AFTER_MS=700\nCORS_ORIGINS=["https://a.test"]\nOPENAI_API_KEY=\nUNKNOWN=1\n')
        settings = Settings(_env_file=env)
        assert settings.poll_after_ms == 700
        assert settings.cors_origins == ["https://a.test"]
        assert settings.openai_api_key is None

    def test_settings_do_not_change(self):
        with pytest.raises(ValidationError):
            make_settings().port = 1  # type: ignore[misc]  # that is what is tested
