"""The examples of docs/tools.md do what it says, the webhook in Node where its package is installed."""

import asyncio
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.core.tools.toolbox import Toolbox
from app.tools import Caller
from tests.core.tools.support import called, outcome
from tests.support import make_settings

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples/tools"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HAS_NODE = shutil.which("node") and (EXAMPLES / "webhook/node_modules/standardwebhooks").is_dir()


@pytest.mark.parametrize(
    "name", ["signage_tools.py", "refund_tools.py", "webhook/receiver.mjs", "webhook/tools.yaml"]
)
def test_the_document_shows_the_whole_example(name):
    assert f"\n{(EXAMPLES / name).read_text()}```" in (ROOT / "docs/tools.md").read_text()


@pytest.fixture
def signage(tmp_path, monkeypatch):
    path = tmp_path / "signage.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((EXAMPLES / "signage.sql").read_text())
    monkeypatch.setenv("SIGNAGE_DB", str(path))
    return Toolbox.load(make_settings(tools_module=str(EXAMPLES / "signage_tools.py")))


async def query(box, sql):
    return await called(box, "query_signage", json.dumps({"sql": sql}))


async def test_the_analyst_asks_the_database(signage):
    sql = "SELECT spot, count(*) FROM plays WHERE finished = 1 GROUP BY spot"
    assert json.loads((await query(signage, sql)).output) == {
        "columns": ["spot", "count(*)"],
        "rows": [["Coffee", 3]],
        "is_cut": False,
    }


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM plays",
        "UPDATE screens SET state = 'x'",
        "DROP TABLE plays",
        "ATTACH 'another.db' AS other",
        "PRAGMA query_only = 0",
        "SELECT 1; DELETE FROM plays",
        "SELECT load_extension('x')",
        "SELECT * FROM nowhere",
        "",
    ],
)
async def test_the_model_can_only_read(signage, sql):
    found = await query(signage, sql)
    assert found.outcome == "error" or json.loads(found.output)["rows"] == []
    assert json.loads((await query(signage, "SELECT count(*) FROM plays")).output)["rows"] == [[4]]


async def test_a_long_answer_is_cut(signage):
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    found = json.loads((await query(signage, sql)).output)
    assert (len(found["rows"]), found["is_cut"]) == (200, True)


@pytest.fixture
def refunds():
    return Toolbox.load(make_settings(tools_module=str(EXAMPLES / "refund_tools.py")))


def test_a_refund_asks_first(refunds):
    tool = refunds.get("refund_order")
    assert (tool.needs_approval, tool.is_idempotent) == (True, False)


@pytest.mark.parametrize(
    ("user", "cents", "expected"),
    [
        ("ada", 900, ("ok", '{"order_id": "A-1001", "refunded_cents": 900}')),
        ("ada", 9_000, ("error", "Only 4900 cents were paid for it.")),
        ("eve", 900, ("error", "The user has no order A-1001.")),
    ],
)
async def test_a_refund_is_for_the_user_who_asks(refunds, user, cents, expected):
    arguments = json.dumps({"order_id": "A-1001", "cents": cents})
    assert outcome(await called(refunds, "refund_order", arguments, Caller(user))) == expected


@pytest.mark.skipif(not HAS_NODE, reason="needs node, and npm ci in examples/tools/webhook")
async def test_the_receiver_in_node_verifies_our_signature(tmp_path):
    process = await asyncio.create_subprocess_exec(
        "node",
        "receiver.mjs",
        cwd=EXAMPLES / "webhook",
        env={"PATH": os.environ["PATH"], "PORT": "0", "TOOLS_WEBHOOK_SECRET": SECRET},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        port = int((await process.stdout.readline()).split()[1])
        file = tmp_path / "tools.yaml"
        file.write_text((EXAMPLES / "webhook/tools.yaml").read_text().replace("8020", str(port)))
        found = [
            await stock(file, SECRET, "lamp-7"),
            await stock(file, SECRET, "x", "run_2"),
            await stock(file, SECRET, "x"),  # the first call once more
            await stock(file, SECRET[:-4] + "AAAA", "lamp-7"),
        ]
    finally:
        process.terminate()
        await process.communicate()
    assert found == [
        ("ok", '{"sku":"lamp-7","pieces":12}'),
        ("error", 'The tool answered with status 404: {"error":"There is no x."}'),
        ("ok", '{"sku":"lamp-7","pieces":12}'),
        ("error", 'The tool answered with status 401: {"error":"The signature is wrong."}'),
    ]


async def stock(file, secret, sku, run="run_1"):
    box = Toolbox.load(make_settings(tools_file=file, tools_webhook_secret=secret))
    try:
        return outcome(await called(box, "stock", json.dumps({"sku": sku}), Caller(run_id=run)))
    finally:
        await box.aclose()
