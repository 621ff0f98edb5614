"""Chat turns that bring files along, as a multipart form: deep-chat's uploads, or `curl -F`.

The same path as `/chat`, chosen by the content type, so that JSON bodies never meet a form reader.
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.routing import Match
from starlette.types import Scope

from app.api.chat import answered
from app.api.dependencies import ScopeDep
from app.api.files import NO_BODY_LIMIT
from app.api.idempotency import KEY_HEADER, Once
from app.api.turns import Turn, current_turn
from app.core.errors import BadRequestError, ServiceError
from app.core.files.multipart_reader import FormReader
from app.core.files.service import Files
from app.core.services.chat import FILES_ALONE
from app.models.chat import ChatRequest
from app.translate.attachments import Attached
from app.utils.filenames import is_image

_MESSAGE = "message"
_FLAGS = {"true": True, "false": False}


class _FormRoute(APIRoute):
    """A route that only takes multipart forms; other requests go on to the next route of the path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        kind = next((value for name, value in scope.get("headers", ()) if name == b"content-type"), b"")
        if not kind.lower().startswith(b"multipart/form-data"):
            return Match.NONE, {}
        return super().matches(scope)


async def _unrepeated(request: Request, scope: ScopeDep) -> Turn:
    """Return the turn of a form, which is never told apart from another one: its body is not kept."""
    return await current_turn(request, scope, Once(request, scope, None))


FormTurnDep = Annotated[Turn, Depends(_unrepeated)]


router = APIRouter(tags=["chat"], route_class=_FormRoute)


@router.post("/chat", include_in_schema=False, max_body_size=NO_BODY_LIMIT)
async def chat_with_files(turn: FormTurnDep) -> Response:
    headers, service = turn.request.headers, turn.client.files
    if KEY_HEADER in headers:
        turn.scope.ignore([KEY_HEADER])
    form = FormReader(headers["content-type"], turn.request.stream(), service.uploads.limits)
    files = await _uploaded(form, service, turn.settings.max_files)
    try:
        body = _chat_request(form, has_files=bool(files))
        return await answered(turn, body, files)
    except BaseException:
        service.forget([file.file_id for file in files])
        raise


async def _uploaded(form: FormReader, service: Files, max_files: int) -> list[Attached]:
    found: list[Attached] = []
    try:
        while (file := await form.next_file()) is not None:
            if len(found) >= max_files:
                raise BadRequestError(
                    f"At most {max_files} files a message.", param=file.field, code="too_many_files"
                )
            purpose = "vision" if is_image(file.filename) else "user_data"
            made = await service.uploads.add(form, file, purpose)
            found.append(Attached(str(made["id"]), file.filename))
    except ServiceError:
        service.forget([file.file_id for file in found])
        raise
    return found


def _chat_request(form: FormReader, *, has_files: bool) -> ChatRequest:
    """Return the request that the fields make: deep-chat's `message1`…, or the names of the JSON."""
    fields: dict[str, Any] = {}
    numbered: dict[int, Any] = {}
    for name, value in form.fields:
        number = name.removeprefix(_MESSAGE)
        if name.startswith(_MESSAGE) and number.isascii() and number.isdecimal():
            numbered[int(number[:9])] = _parsed(name, value)
        elif name == "messages":
            fields[name] = _parsed(name, value)
        else:
            fields[name] = _FLAGS.get(value, value) if name == "stream" else value
    if numbered:
        fields["messages"] = [numbered[number] for number in sorted(numbered)]
    if has_files and not fields.get(_MESSAGE) and not fields.get("messages"):
        fields.pop(_MESSAGE, None)
        fields["messages"] = [FILES_ALONE]
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as exc:
        raise RequestValidationError(exc.errors()) from exc


def _parsed(name: str, value: str) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise BadRequestError(
            f"The field '{name}' is no valid JSON.", param=name, code="invalid_json"
        ) from None
