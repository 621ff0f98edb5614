"""No exception of the SDK or of a transport leaves an adapter untranslated: every class is listed here."""

from collections.abc import Iterator
from types import ModuleType

import httpx2
import openai
import pytest

from app.core.upstream import sdk
from app.core.upstream.errors import (
    ConversationLockedError,
    UpstreamAuthError,
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamMissingError,
    UpstreamRefusedError,
    UpstreamServerError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)

STATUS_ERRORS: dict[str, tuple[int, type[UpstreamError]]] = {
    "APIStatusError": (418, UpstreamRefusedError),
    "BadRequestError": (400, UpstreamRefusedError),
    "AuthenticationError": (401, UpstreamAuthError),
    "OAuthError": (401, UpstreamAuthError),
    "PermissionDeniedError": (403, UpstreamAuthError),
    "NotFoundError": (404, UpstreamMissingError),
    "ConflictError": (409, ConversationLockedError),
    "UnprocessableEntityError": (422, UpstreamRefusedError),
    "RateLimitError": (429, UpstreamBusyError),
    "InternalServerError": (500, UpstreamServerError),
}
OTHER_SDK_ERRORS: dict[str, type[UpstreamError]] = {
    "APIError": UpstreamBrokenError,
    "APIConnectionError": UpstreamBrokenError,
    "APITimeoutError": UpstreamTimeoutError,
    "APIResponseValidationError": UpstreamBrokenError,
}
HTTPX2_ERRORS: dict[str, type[UpstreamError]] = {
    "HTTPError": UpstreamBrokenError,
    "RequestError": UpstreamBrokenError,
    "TransportError": UpstreamBrokenError,
    "TimeoutException": UpstreamTimeoutError,
    "ConnectTimeout": UpstreamUnreachableError,
    "PoolTimeout": UpstreamUnreachableError,
    "ReadTimeout": UpstreamTimeoutError,
    "WriteTimeout": UpstreamTimeoutError,
    "NetworkError": UpstreamBrokenError,
    "ConnectError": UpstreamUnreachableError,
    "ReadError": UpstreamBrokenError,
    "WriteError": UpstreamBrokenError,
    "CloseError": UpstreamBrokenError,
    "ProxyError": UpstreamBrokenError,
    "UnsupportedProtocol": UpstreamBrokenError,
    "ProtocolError": UpstreamBrokenError,
    "LocalProtocolError": UpstreamBrokenError,
    "RemoteProtocolError": UpstreamBrokenError,
    "SSEError": UpstreamBrokenError,
    "DecodingError": UpstreamBrokenError,
    "TooManyRedirects": UpstreamBrokenError,
    "HTTPStatusError": UpstreamBrokenError,
    "StreamError": UpstreamBrokenError,
    "StreamConsumed": UpstreamBrokenError,
    "StreamClosed": UpstreamBrokenError,
    "ResponseNotRead": UpstreamBrokenError,
    "RequestNotRead": UpstreamBrokenError,
}
REQUEST = httpx2.Request("POST", "https://upstream.test/v1/responses")


def family(*roots: type[Exception]) -> Iterator[type[Exception]]:
    """The classes and everything that derives from them, in their own libraries."""
    for root in roots:
        if root.__module__.split(".")[0] in {"openai", "httpx2"}:
            yield root
        yield from family(*root.__subclasses__())


def names(*roots: type[Exception]) -> set[str]:
    return {found.__name__ for found in family(*roots)}


def raised_through(module: ModuleType, exc: Exception) -> UpstreamError:
    """What an exception has become on its way out of an adapter."""
    with pytest.raises(UpstreamError) as caught, module.translated():
        raise exc
    assert caught.value.__cause__ is exc
    return caught.value


class TestSdk:
    def test_every_api_error_of_the_sdk_is_listed(self):
        assert names(openai.APIError) == STATUS_ERRORS.keys() | OTHER_SDK_ERRORS.keys()

    @pytest.mark.parametrize("kind", sorted(set(family(openai.APIStatusError)), key=str))
    def test_a_status_error_is_read_for_its_status(self, kind):
        status, expected = STATUS_ERRORS[kind.__name__]
        response = httpx2.Response(status, request=REQUEST, json={"error": {"message": "canary"}})
        message = {} if kind is openai.OAuthError else {"message": "canary"}
        error = raised_through(sdk, kind(**message, response=response, body=None))
        assert type(error) is expected
        assert error.upstream_status == status
        assert "canary" not in str(error.body())

    def test_a_status_error_whose_body_was_not_read_is_still_an_error(self):
        response = httpx2.Response(500, request=REQUEST, stream=httpx2.ByteStream(b"x"))
        error = raised_through(sdk, openai.InternalServerError("canary", response=response, body=None))
        assert type(error) is UpstreamServerError

    def test_errors_without_a_status_are_mapped(self):
        made = {
            "APIError": openai.APIError("canary", REQUEST, body=None),
            "APIConnectionError": openai.APIConnectionError(request=REQUEST),
            "APITimeoutError": openai.APITimeoutError(REQUEST),
            "APIResponseValidationError": openai.APIResponseValidationError(
                httpx2.Response(200, request=REQUEST), None
            ),
        }
        found = {name: type(raised_through(sdk, exc)) for name, exc in made.items()}
        assert found == OTHER_SDK_ERRORS

    def test_every_other_error_of_the_sdk_is_caught(self):
        others = set(family(openai.OpenAIError)) - set(family(openai.APIError))
        assert others
        for kind in others:
            error = raised_through(sdk, kind.__new__(kind))
            assert type(error) is UpstreamBrokenError, kind


class TestHttpx2:
    def test_every_transport_error_is_listed(self):
        assert names(httpx2.HTTPError, httpx2.StreamError) == HTTPX2_ERRORS.keys()

    @pytest.mark.parametrize("kind", sorted(set(family(httpx2.HTTPError, httpx2.StreamError)), key=str))
    def test_a_transport_error_is_mapped_bare_and_behind_the_sdk(self, kind):
        expected = HTTPX2_ERRORS[kind.__name__]
        assert type(raised_through(sdk, kind.__new__(kind))) is expected
        wraps = (
            openai.APITimeoutError if issubclass(kind, httpx2.TimeoutException) else openai.APIConnectionError
        )
        wrapped = wraps(request=REQUEST)
        wrapped.__cause__ = kind.__new__(kind)
        assert type(raised_through(sdk, wrapped)) is expected
