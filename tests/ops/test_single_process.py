"""One process as people deploy it: under PM2's settings, behind Caddy, in WordPress."""

import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from app.core.config import Settings
from bench.cluster import ROOT, Process, accepts, running, wait_for, wait_until_ready
from bench.processes import free_port

DEPLOY = ROOT / "deploy"
PLUGIN = ROOT / "examples/widget/wordpress/soloist-chat.php"
EMBEDDED = {"EMBEDDED_DB": ":memory:", "EMBEDDED_RESPONDER": "scripted"}


def pm2_app():
    """What PM2 reads from its file."""
    program = "process.stdout.write(JSON.stringify(require(process.argv[1])))"
    command = ["node", "-e", program, str(DEPLOY / "pm2.config.cjs")]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)["apps"][0]


@pytest.mark.needs_node
def test_pm2_starts_what_answers_and_leaves_time_to_drain(tmp_path):
    app, port = pm2_app(), free_port()
    assert app["interpreter"] == str(ROOT / ".venv/bin/python")
    command = [sys.executable, app["script"]]
    with running(Process(command, tmp_path / "log", Path(app["cwd"]), PORT=str(port), **EMBEDDED)) as process:
        wait_until_ready(process, port)
    assert app["kill_timeout"] / 1000 >= Settings.model_fields["shutdown_grace_seconds"].default + 5


@pytest.mark.needs_caddy
def test_caddy_passes_streams_on_and_keeps_metrics_back(tmp_path):
    port, front = free_port(), free_port()
    service = Process([sys.executable, "main.py"], tmp_path / "log", PORT=str(port), **EMBEDDED)
    named = {"SOLOIST_HOST": f"http://127.0.0.1:{front}", "SOLOIST_UPSTREAM": f"127.0.0.1:{port}"}
    caddy = ["caddy", "run", "--adapter", "caddyfile", "--config", str(DEPLOY / "whole-host.caddyfile")]
    with running(service), running(Process(caddy, tmp_path / "caddy.log", HOME=str(tmp_path), **named)):
        wait_until_ready(service, port)
        wait_for(lambda: accepts(front), "Caddy")
        with httpx2.Client(base_url=f"http://127.0.0.1:{front}", trust_env=False) as client:
            body = {"message": "hello", "stream": True}
            with client.stream("POST", "/api/v1/chat", json=body) as response:
                assert response.headers["content-type"].startswith("text/event-stream")
                assert "event: done" in response.read().decode()
            assert client.get("/metrics").status_code == 404


@pytest.mark.needs_php
def test_php_reads_the_plugin():
    subprocess.run(["php", "-l", str(PLUGIN)], check=True, capture_output=True, timeout=30)
