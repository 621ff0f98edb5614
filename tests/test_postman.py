"""The Postman collection covers every operation of the API and can be run from top to bottom."""

import json
import re
from pathlib import Path

import pytest

import main
from app.core.config import Settings

ROOT = Path(__file__).resolve().parents[1]
COLLECTION = json.loads((ROOT / "postman_collection.json").read_text(encoding="utf-8"))
REQUESTS = [(folder["name"], item) for folder in COLLECTION["item"] for item in folder["item"]]
VARIABLES = {variable["key"]: variable["value"] for variable in COLLECTION["variable"]}
OPERATIONS = [
    (method.upper(), path)
    for path, operations in main.create_app(Settings(_env_file=None)).openapi()["paths"].items()
    for method in operations
]


def scripts(item, listen):
    return "\n".join(
        line for event in item["event"] if event["listen"] == listen for line in event["script"]["exec"]
    )


def path_of(item):
    return item["request"]["url"]["raw"].partition("?")[0].removeprefix("{{base_url}}")


def operation_of(item):
    """Name the operation that a request calls, of several that match the one with the fewest parameters."""
    found = [
        (method, path)
        for method, path in OPERATIONS
        if method == item["request"]["method"]
        and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), path_of(item))
    ]
    return min(found, key=lambda operation: operation[1].count("{"), default=None)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_operation_has_a_request(method, path):
    assert (method, path) in {operation_of(item) for _, item in REQUESTS}


@pytest.mark.parametrize("item", [item for _, item in REQUESTS], ids=lambda item: item["name"])
def test_request_names_a_route_that_exists(item):
    assert operation_of(item) in OPERATIONS


@pytest.mark.parametrize("item", [item for _, item in REQUESTS], ids=lambda item: item["name"])
def test_request_checks_its_answer(item):
    checks = re.findall(r"pm\.test\(", scripts(item, "test"))
    assert checks
    assert "pm.expect" in scripts(item, "test") or "to.have" in scripts(item, "test")


def test_variables_are_those_that_requests_use():
    text = json.dumps(COLLECTION["item"]) + json.dumps(COLLECTION["auth"])
    used = set(re.findall(r"\{\{(\w+)\}\}", text)) | set(
        re.findall(r"collectionVariables\.(?:get|set)\(\\\"(\w+)\\\"", text)
    )
    assert used == set(VARIABLES)
    assert {"base_url", "api_key", "thread_id", "run_id", "message_id", "assistant_id", "step_id"} <= used


def test_ids_are_stored_before_they_are_used():
    known = {name for name, value in VARIABLES.items() if value}
    for folder, item in REQUESTS:
        needed = set(re.findall(r"\{\{(\w+)\}\}", json.dumps(item["request"])))
        assert needed <= known, f"{folder}: {item['name']} needs {needed - known}"
        known |= set(re.findall(r"collectionVariables\.set\(\"(\w+)\"", scripts(item, "test")))


def test_it_holds_no_secret_and_no_address_but_loopback():
    assert VARIABLES["api_key"] == "none"
    hosts = set(re.findall(r"https?://([^/\"]+)", json.dumps(COLLECTION)))
    assert hosts == {"127.0.0.1:8010", "schema.getpostman.com"}
