"""A tool that changes something: the user is asked first, and sees the exact arguments."""

from typing import Annotated

from pydantic import Field

from app.tools import Caller, ToolError, tool

# Stands for your database: what was paid, in cents, by whom.
ORDERS = {"A-1001": {"user_id": "ada", "paid": 4_900}}


@tool(approval="always")
async def refund_order(
    order_id: Annotated[str, Field(description="Such as A-1001")],
    cents: Annotated[int, Field(ge=1, description="How much to pay back")],
    caller: Caller,
) -> dict[str, object]:
    """Pay money back for an order of the user."""
    order = ORDERS.get(order_id)
    # The model chose the arguments; who is asking comes from the service, and decides.
    if order is None or order["user_id"] != caller.user_id:
        raise ToolError(f"The user has no order {order_id}.")
    if cents > order["paid"]:
        raise ToolError(f"Only {order['paid']} cents were paid for it.")
    order["paid"] -= cents
    return {"order_id": order_id, "refunded_cents": cents}
