"""Tools of a test's own, and the calls and outputs that name them."""

import json

from tests.support import Json

TOOLS = '''
import asyncio, builtins
from app.tools import tool

gate = builtins.__dict__.setdefault("_tool_gate", {})

@tool
def ours(x: int) -> str:
    """Ours."""
    gate["calls"] = gate.get("calls", 0) + 1
    return f"ours {x}"

@tool
async def slow(x: int) -> str:
    """Slow."""
    gate["calls"] = gate.get("calls", 0) + 1
    await asyncio.sleep(3600)
    return "never"

@tool(approval="always")
def guarded(x: int) -> str:
    """Guarded."""
    gate["calls"] = gate.get("calls", 0) + 1
    return f"guarded {x}"

@tool(approval="always")
async def guarded_slow(x: int = 0, seconds: float = 3600) -> str:
    """Guarded and slow."""
    gate["calls"] = gate.get("calls", 0) + 1
    await asyncio.sleep(seconds)
    return "guarded at last"
'''
THEIRS: Json = {"type": "function", "function": {"name": "theirs", "parameters": {"type": "object"}}}


def call(name: str, number: int = 1, **arguments: object) -> Json:
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{number}",
        "name": name,
        "arguments": json.dumps(arguments or {"x": number}),
    }


def outputs(*pairs):
    return {"tool_outputs": [{"tool_call_id": call_id, "output": output} for call_id, output in pairs]}
