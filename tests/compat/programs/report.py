"""Runs the functions of a client's program one after the other, and prints a line for each."""

import asyncio
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Step = Callable[[], Any]


def run(version: str, *steps: Step) -> None:
    """Print the client's version, then `ok NAME` or `FAIL NAME why` for each step; one may await."""
    print(f"version {version}", flush=True)
    for step in steps:
        try:
            if inspect.iscoroutinefunction(step):
                asyncio.run(step())
            else:
                step()
        except Exception as exc:  # noqa: BLE001 - the others still have to run
            place = traceback.extract_tb(exc.__traceback__)[-1]
            why = " ".join(f"{type(exc).__name__}: {str(exc) or place.line}".split())
            print(
                f"FAIL {step.__name__} {why[:500]} ({Path(place.filename).name}:{place.lineno})", flush=True
            )
        else:
            print(f"ok {step.__name__}", flush=True)


def base_url() -> str:
    """Return the address of the service's API, the program's only argument."""
    return sys.argv[1]
