"""The tool of the row "tools", which takes no time."""

from app.tools import tool


@tool
async def look_up(number: int) -> str:
    """Look a number up."""
    return "found"
