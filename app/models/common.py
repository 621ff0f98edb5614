"""What all schemas share."""

import re
from typing import Annotated, Any, Literal, Self

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

MAX_METADATA_KEYS = 13
"""The upstream takes sixteen; three are ours."""

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


RateLimit = Annotated[str, AfterValidator(_check_rate_limit)]
"""How often something may be done, such as `60/minute`."""

Metadata = Annotated[
    dict[str, str],
    AfterValidator(_check_metadata),
    Field(
        description=f"Up to {MAX_METADATA_KEYS} keys of 64 characters, with values of 512.",
        examples=[{"topic": "billing"}],
    ),
]


class RequestModel(BaseModel):
    """A request body. Fields it does not know are kept, to be named in `x-ignored-params` or refused."""

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
    """Return the config of a request body that the OpenAPI document shows like this, not with every field."""
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
    """Says that an object is gone."""

    id: str
    object: str
    deleted: Literal[True]


class Usage(BaseModel):
    """Tokens of a run, over all its rounds."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class PageModel(BaseModel):
    """One page of a list; ask on with `after=last_id` while `has_more`."""

    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


JsonObject = dict[str, Any]


def _is_json(value: object) -> bool:
    """Tell whether the upstream can be sent a value, which is nested some levels deeper there."""
    try:
        orjson.dumps([[[[[[[[value]]]]]]]])
    except orjson.JSONEncodeError:
        return False
    return True


def _not_json(title: str, data: JsonObject) -> ValidationError:
    reason = PydanticCustomError(
        "not_json",
        "it holds half a surrogate pair, an integer beyond 64 bits, or more than 200 levels; leave that out",
    )
    name = next((name for name, value in data.items() if not _is_json(value) or not _is_json(name)), None)
    location = (name,) if name is not None and _is_json(name) else ()
    return ValidationError.from_exception_data(
        title, [InitErrorDetails(type=reason, loc=location, input=None)]
    )
