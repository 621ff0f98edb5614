"""The service under a path of a site, behind the proxies as deploy/ sets them up."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from bench.cluster import ROOT, Process, accepts, running, start_service, wait_for, wait_until_ready
from bench.processes import free_port
from tests.support import frames, names

PREFIX = "/openai-api"
pytestmark = pytest.mark.timeout(120)


def nginx(folder: Path, port: int, upstream: str, *, keeps: bool) -> Process:
    text = (ROOT / "deploy" / "nginx-prefix.conf").read_text()
    assert text.count("proxy_pass http://127.0.0.1:8010/;") == 1
    text = text.replace("http://127.0.0.1:8010/;", f"http://{upstream}{'' if keeps else '/'};")
    (folder / "soloist-prefix.conf").write_text(text)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log warn;\ndaemon off;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}"
        f"server {{\nlisten 127.0.0.1:{port};\ninclude soloist-prefix.conf;\n}}\n}}\n"
    )
    return Process(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], folder / "nginx.log")


def caddy(folder: Path, port: int, upstream: str, *, keeps: bool) -> Process:
    text = (ROOT / "deploy" / "Caddyfile").read_text()
    assert text.count("example.com {") == text.count("handle_path /") == text.count("127.0.0.1:8010") == 1
    text = text.replace("example.com {", f"http://127.0.0.1:{port} {{").replace("127.0.0.1:8010", upstream)
    if keeps:
        text = text.replace("handle_path /", "handle /")
    (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + text)
    command = ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    return Process(
        command, folder / "caddy.log", ROOT, XDG_DATA_HOME=str(folder), XDG_CONFIG_HOME=str(folder)
    )


PROXIES = [
    pytest.param((proxy, keeps), id=f"{proxy.__name__}-{'keeps' if keeps else 'takes-off'}", marks=mark)
    for proxy, mark in ((nginx, pytest.mark.needs_nginx), (caddy, pytest.mark.needs_caddy))
    for keeps in (False, True)
]


@pytest.fixture(scope="module", params=PROXIES)
def site(request, tmp_path_factory) -> Iterator[httpx2.Client]:
    """A client of the proxy."""
    start_proxy, keeps = request.param
    folder: Path = tmp_path_factory.mktemp("prefix")
    port, proxy_port = free_port(), free_port()
    url = f"http://127.0.0.1:{proxy_port}"
    settings = {
        "PUBLIC_URL": url + PREFIX,
        "EMBEDDED_RESPONDER": "scripted",
        "EMBEDDED_DB": str(folder / "upstream.db"),
        "TRUSTED_PROXIES": '["127.0.0.1"]',
    }
    with ExitStack() as stack:
        service = stack.enter_context(running(start_service(folder, port, **settings)))
        wait_until_ready(service, port)
        proxy = start_proxy(folder, proxy_port, f"127.0.0.1:{port}", keeps=keeps)
        stack.enter_context(running(proxy))
        wait_for(lambda: accepts(proxy_port) or proxy.popen.poll() is not None, "the proxy")
        assert proxy.popen.poll() is None, proxy.log.read_text()[-2000:]
        yield stack.enter_context(httpx2.Client(base_url=url, timeout=60, trust_env=False))


def test_every_link_of_the_root_leads_somewhere(site):
    redirect = site.get(PREFIX)
    assert (redirect.status_code, redirect.headers["location"]) == (308, f"{PREFIX}/")
    links = site.get(f"{PREFIX}/").json()["links"]
    assert links["chat"] == f"{PREFIX}/api/v1/chat"
    for name, link in links.items():
        assert site.get(link).status_code == (405 if name == "chat" else 200), link


def test_swagger_ui_calls_the_right_address(site):
    [server] = site.get(f"{PREFIX}/openapi.json").json()["servers"]
    assert site.get(f"{server['url']}/api/v1/health").json()["status"] == "ok"
    assert f"'{PREFIX}/openapi.json'" in (page := site.get(f"{PREFIX}/docs").text) or "{{" not in page


@pytest.mark.parametrize("path", ["/api/v1/chat", "/api/v1/chat/", "//api/v1//chat"])
def test_chats_are_answered_with_and_without_a_slash(site, path):
    sent = {"message": "hello"}
    assert site.post(PREFIX + path, json=sent).json()["message"] == "You said: hello"
    streamed = site.post(PREFIX + path, json=sent | {"stream": True})
    assert names(frames(streamed.text)) == ["thread", "delta", "done"]


def test_links_to_files_lead_back(site):
    form = {"files": ("a.txt", b"content"), "message": (None, "hello")}
    thread_id = site.post(f"{PREFIX}/api/v1/chat", files=form).json()["thread_id"]
    text = site.get(f"{PREFIX}/api/v1/threads/{thread_id}/export?format=markdown").text
    [link] = re.findall(r"\((http\S+/content)\)", text)
    assert link.startswith(f"{site.base_url}".rstrip("/") + PREFIX + "/api/v1/files/")
    assert site.get(link).status_code == 200


def test_metrics_stay_inside(site):
    for path in ("/metrics", "/metrics/", "//metrics"):
        assert site.get(PREFIX + path).status_code in {403, 404}
