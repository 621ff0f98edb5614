"""Parts that the schemas share."""

import re
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

T = TypeVar("T")
# The upstream takes sixteen; three are for this service.
MAX_METADATA_KEYS = 13
_PRIVATE_PREFIX = "soloist_"
_RATE_LIMIT = re.compile(r"[1-9][0-9]{0,8}/([1-9][0-9]{0,4} ?)?(second|minute|hour|day)s?\Z")


def _check_metadata(metadata: dict[str, str]) -> dict[str, str]:
    if len(metadata) > MAX_METADATA_KEYS:
        raise ValueError(f"at most {MAX_METADATA_KEYS} keys")
    for key, value in metadata.items():
        if not key or len(key) > 64 or len(value) > 512:
            raise ValueError("keys have 1 to 64 and values at most 512 characters")
        if key.startswith(_PRIVATE_PREFIX):
            raise ValueError("keys that begin with soloist_ are reserved")
    return metadata


def _check_rate_limit(text: str) -> str:
    if not _RATE_LIMIT.match(text):
        raise ValueError(f"{text[:40]!r} is no limit; write one such as 60/minute or 10/second")
    return text


def _check_text(text: str) -> str:
    if text.isspace():
        raise ValueError("it holds nothing but blanks; send text")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(_check_text)]
RateLimit = Annotated[str, AfterValidator(_check_rate_limit)]
Metadata = Annotated[
    dict[str, str],
    AfterValidator(_check_metadata),
    Field(
        description=f"Up to {MAX_METADATA_KEYS} keys of 64 characters, with values of 512.",
        examples=[{"topic": "billing"}],
    ),
]


class RequestModel(BaseModel):
    """A request body. Unknown fields are kept: services name them in `x-ignored-params` or refuse them."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="wrap")
    @classmethod
    def _can_be_passed_on(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        model = handler(data)
        if isinstance(data, dict) and not _is_json(data):
            raise _not_json(cls.__name__, data)
        return model

    def unknown_fields(self) -> list[str]:
        """Return the names of the fields that this service does not take."""
        return sorted(self.__pydantic_extra__ or {})


def example(**body: Any) -> ConfigDict:
    """Return a config with an example for the OpenAPI document, whose own would show every field."""
    return ConfigDict(json_schema_extra={"examples": [body]})


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str = Field(description="What is wrong and what to do about it.")
    type: str = Field(description="The class of the error, such as invalid_request_error.")
    param: str | None = Field(description="The offending field.")
    code: str | None = Field(description="A stable code for programs.")


class ErrorBody(BaseModel):
    """The one error envelope, OpenAI's."""

    error: ErrorDetail


class Deleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: str
    deleted: Literal[True]


class Usage(BaseModel):
    """Tokens of a run, over all its rounds."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class PageModel(BaseModel, Generic[T]):
    """One page of a list; while `has_more`, `after=last_id` gets the next one."""

    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool
    data: list[T]


def _is_json(value: object) -> bool:
    """Return whether a value can be sent upstream, where it is nested up to eight levels deeper."""
    try:
        # orjson refuses more than 254 levels, and the wrapping lists leave room for ours.
        orjson.dumps([[[[[[[[value]]]]]]]])
    except orjson.JSONEncodeError:
        return False
    return True


def _not_json(title: str, data: dict[str, Any]) -> ValidationError:
    reason = PydanticCustomError(
        "not_json",
        "it holds half a surrogate pair, an integer beyond 64 bits, or more than 200 levels; leave that out",
    )
    name = next((name for name, value in data.items() if not _is_json(value) or not _is_json(name)), None)
    location = (name,) if name is not None and _is_json(name) else ()
    return ValidationError.from_exception_data(
        title, [InitErrorDetails(type=reason, loc=location, input=None)]
    )
