"""What every route module needs: typed bodies, page parameters, counted routes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.embedded.errors import ApiError
from app.embedded.services import services_of
from app.embedded.store.paging import Order, Page
from app.embedded.wire import Body, decode

Endpoint = Callable[[Request], Awaitable[Response]]
B = TypeVar("B", bound=Body)

_MAX_PAGE = 100


def route(method: str, path: str, endpoint: Endpoint) -> Route:
    """A route whose requests are counted under `METHOD path`."""
    name = f"{method} {path}"

    async def counted(request: Request) -> Response:
        services_of(request).requests[name] += 1
        return await endpoint(request)

    return Route(path, counted, methods=[method], name=name)


async def read_body(request: Request, kind: type[B]) -> B:
    """The request's JSON body.

    Raises InvalidBodyError, which is answered with 400.
    """
    return decode(await request.body(), kind)


def page_of(request: Request, *, limit: int = 20, max_limit: int = _MAX_PAGE) -> Page:
    """`limit`, `order` and `after` of the query.

    Raises ApiError 400.
    """
    order = request.query_params.get("order") or "desc"
    if order not in get_args(Order):
        raise ApiError(
            f"Invalid value: '{order}'. Supported values are: 'asc' and 'desc'.",
            param="order",
            code="invalid_value",
        )
    wanted = whole_number(request, "limit", limit)
    if not 1 <= wanted <= max_limit:
        raise ApiError(
            f"Invalid 'limit': expected 1 to {max_limit}, got {wanted}.", param="limit", code="invalid_value"
        )
    return Page(wanted, "asc" if order == "asc" else "desc", request.query_params.get("after") or None)


def whole_number(request: Request, name: str, default: int) -> int:
    """An integer of the query.

    Raises ApiError 400.
    """
    given = request.query_params.get(name)
    if given is None:
        return default
    try:
        return int(given)
    except ValueError:
        raise ApiError(f"Invalid '{name}': expected an integer.", param=name, code="invalid_type") from None


def included(request: Request) -> list[str]:
    """What `include` of the query names."""
    return [*request.query_params.getlist("include[]"), *request.query_params.getlist("include")]


def flag(request: Request, name: str) -> bool:
    """A boolean of the query, absent meaning false."""
    return (request.query_params.get(name) or "").lower() in {"true", "1"}
