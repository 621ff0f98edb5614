"""What the documents say is so: their examples run against the real service, their links lead somewhere."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest
from openai.types.beta import thread_create_and_run_params
from openai.types.beta.threads import message_create_params, run_create_params

from app.core.config import Settings
from app.models.assistants import AssistantRead
from app.models.messages import Message
from app.models.runs import Run, RunStep
from app.models.threads import Thread
from tests.support import frames, make_settings, served
from tests.test_env_example import as_text

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "README.ko.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("examples/**/README.md")),
]
DOCUMENTS = [path for path in DOCUMENTS if "node_modules" not in path.parts]
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
LISTEN = "http://127.0.0.1:8010"
SIGNAGE = ROOT / "examples/assistants/signage-analyst.json"


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def sections(path):
    """Map each heading to its text; headings inside code are none."""
    parts = re.split(
        r"(?m)^#+ (.+)$", FENCE.sub(lambda found: found[0].replace("\n#", "\n\0#"), path.read_text())
    )
    return {heading: text.replace("\0", "") for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


README = sections(ROOT / "README.md")


def blocks(text, language):
    return [found[2] for found in FENCE.finditer(text) if found[1] == language]


async def run(service, *command):
    """Run an example against the service as its reader would; return what it prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "SOLOIST_URL": service.base_url.rstrip("/"),
        "PYTHONWARNINGS": "ignore",
    }
    origin = service.base_url.removesuffix("/api/v1/")
    process = await asyncio.create_subprocess_exec(
        *(word.replace(LISTEN, origin) for word in command),
        env=environment,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.fixture
async def guide(tmp_path):
    async with served(make_settings(embedded_db=str(tmp_path / "guide.db"))) as service:
        yield service


@pytest.fixture
async def scripted(tmp_path):
    settings = {"embedded_db": str(tmp_path / "scripted.db"), "embedded_responder": "scripted"}
    async with served(make_settings(**settings, assistant_file=SIGNAGE)) as service:
        yield service


def settled(answer):
    """An answer without what differs each time."""
    return {
        key: "…" if key in {"thread_id", "run_id", "message_id", "created_at", "usage"} else value
        for key, value in answer.items()
    }


@pytest.mark.parametrize("heading", ["Say hello with curl", "Which upstream answers", "Errors"])
async def test_curl_prints_what_the_readme_shows(guide, heading):
    (command,), (shown,) = blocks(README[heading], "bash"), blocks(README[heading], "json")
    printed = json.loads(await run(guide, "bash", "-ec", command))
    assert settled(printed) == settled(json.loads(shown))


async def test_an_answer_is_replaced_as_the_readme_says(guide):
    heading = "Regenerate an answer, or edit a question"
    (begun,), (command,) = blocks(README["Continue a conversation"], "bash"), blocks(README[heading], "bash")
    read = f'curl -s "{LISTEN}/api/v1/threads/$thread/messages"'
    printed = await run(guide, "bash", "-ec", f"{begun.rstrip()} >/dev/null\n{command}echo\n{read}")
    answer, page = map(json.loads, printed.splitlines())
    assert answer["message_id"] == page["data"][0]["id"]
    assert page["data"][1]["content"][0]["text"]["value"] == "Who am I?"
    assert len(page["data"]) == 6


async def test_thread_remembers_as_the_readme_says(guide):
    (command,) = blocks(README["Continue a conversation"], "bash")
    printed = await run(guide, "bash", "-ec", command)
    assert json.loads(printed)["message"] in README["Continue a conversation"]


async def test_stream_begins_as_the_readme_shows(guide):
    (command,), (shown,) = (
        blocks(README["Stream the answer"], "bash"),
        blocks(README["Stream the answer"], "text"),
    )
    printed = re.sub(r"\b(thread|run)_\w{8,}", r"\1_…", await run(guide, "bash", "-ec", command))
    expected = frames(shown)
    assert frames(printed)[: len(expected)] == expected
    assert frames(printed)[-1][0] == "done"


async def test_upload_ends_as_an_attachment(guide):
    (command,) = blocks(README["Upload a file"], "bash")
    (attached,) = json.loads(await run(guide, "bash", "-ec", command))["attachments"]
    assert attached["tools"] == [{"type": "file_search"}]
    content = await guide.client.get(f"files/{attached['file_id']}/content")
    assert content.content == (ROOT / "README.md").read_bytes()


async def test_python_without_packages_works(guide):
    (program,) = blocks(README["Call it from Python"], "python")
    assert (await run(guide, sys.executable, "-c", program)).strip() == "Your name is Mina."


async def test_openai_sdk_with_another_base_url_works(guide):
    (program,) = blocks(README["Use the OpenAI SDK with another base URL"], "python")
    printed = await run(guide, sys.executable, "-c", program)
    assert printed.startswith("completed From [README.md, “Stream the answer”](")


async def test_assistants_stream_of_the_documents_runs(guide):
    text = sections(ROOT / "docs/streaming.md")["The Assistants event stream of runs"]
    (command,) = blocks(text, "bash")
    names = [name for name, _ in frames(await run(guide, "bash", "-ec", command))]
    assert [names[0], names[-2], names[-1]] == ["thread.created", "thread.run.completed", "done"]


async def test_old_assistants_program_runs(scripted):
    printed = await run(scripted, sys.executable, "examples/openai-sdk/python/ask.py", "Hello")
    assert printed.splitlines() == ["user: Hello", "assistant: You said: Hello"]


async def test_old_assistants_program_with_tools_runs(scripted):
    printed = await run(scripted, sys.executable, "examples/openai-sdk/python/stream_with_tools.py")
    called, answered = printed.splitlines()
    assert called.startswith("[list_screens {")
    assert "Airport, gate B4" in answered


QUESTIONS = [
    ("how do I set my key?", "README.md", "Set your OpenAI key"),
    ("where does the API key go?", "README.md", "Set your OpenAI key"),
    ("how do I stream?", "README.md", "Stream the answer"),
    ("how do I change the model?", "README.md", "Change the model, the instructions and the tools"),
    ("how do I change the instructions?", "README.md", "Change the model, the instructions and the tools"),
    ("how do I embed it in a website?", "README.md", "Embed it in any website or frontend with one line"),
    ("embed on wordpress", "docs/embedding.md", "Embed the chat in WordPress"),
    ("how do I embed it in React?", "README.md", "Embed it in React with fetch"),
    ("how do I upload a file?", "README.md", "Upload a file"),
    ("how do I upload knowledge", "README.md", "Upload knowledge: a folder of your own documents"),
    ("how do I run it in Docker?", "README.md", "Run it in Docker and deploy it to production"),
    ("what does it cost?", "README.md", "What does it cost?"),
    ("how do I use the OpenAI SDK?", "README.md", "Use the OpenAI SDK with another base URL"),
    ("how do I use Azure?", "docs/upstreams.md", "Azure OpenAI"),
    ("where are the logs?", "README.md", "Logs"),
    ("how do I run a local model?", "README.md", "Run a real model offline"),
    ("how do I cancel a run?", "docs/streaming.md", "Cancel an answer, or stop it by closing the connection"),
    ("how do I resume a stream?", "docs/streaming.md", "Resume a stream after a lost connection"),
    ("how do I change the port?", "README.md", "Change the port or the address"),
    ("how do I answer tool calls?", "docs/streaming.md", "Answer tool calls of functions"),
    ("How do I migrate from the Assistants API?", "docs/migrating.md", "Migrate from the Assistants API"),
    ("How do I deploy it to production?", "README.md", "Run it in Docker and deploy it to production"),
    ("How do I delete a conversation?", "README.md", "Delete a conversation"),
    ("how do I import old threads?", "docs/migrating.md", "Threads and their history: export and import"),
    ("how do I get citations?", "README.md", "See where an answer comes from: citations"),
    ("what settings are there?", "README.md", "Configuration: all settings"),
    ("how do I protect it with auth?", "README.md", "Protect it: authentication for the internet"),
    ("how do I run the tests?", "README.md", "Tests and development"),
    ("which upstream answers?", "README.md", "Which upstream answers"),
    ("can I theme the widget?", "docs/embedding.md", "Theme the widget with CSS custom properties"),
    ("API 키는 어떻게 설정해?", "README.ko.md", "OpenAI API 키 설정하기"),
    ("스트리밍은 어떻게 해?", "README.ko.md", "스트리밍으로 답변 받기"),
    ("모델을 바꾸고 싶어요", "README.ko.md", "모델과 지시문(프롬프트) 바꾸기"),
    ("도커로 배포하려면?", "README.ko.md", "Docker로 배포하기"),
    ("리액트에 어떻게 임베드해?", "README.ko.md", "React에 임베드하기"),
    ("파일은 어떻게 업로드해?", "README.ko.md", "파일 업로드하고 첨부하기"),
    ("워드프레스에 붙이고 싶어요", "README.ko.md", "웹사이트에 위젯 붙이기: 홈페이지와 워드프레스"),
    ("비용은 얼마야?", "README.ko.md", "비용과 요금"),
    ("대화를 삭제하려면?", "README.ko.md", "대화 삭제하기"),
    ("포트를 바꾸려면?", "README.ko.md", "포트와 주소 바꾸기"),
    ("회사 지식을 추가하려면?", "README.ko.md", "지식 추가하기: 폴더 동기화"),
    ("로그는 어디서 봐?", "README.ko.md", "로그 보기"),
    ("설치는 어떻게 해?", "README.ko.md", "설치와 실행: 빠른 시작"),
]
ENOUGH = 0.9


async def test_guide_finds_the_section_for_what_people_ask(guide):
    right = 0
    for question, filename, heading in QUESTIONS:
        answer = (await guide.client.post("chat", json={"message": question})).json()
        named = re.search(r"\[([\w./]+), “(.+?)”\]\((\S+)\)", answer["message"])
        assert named, answer["message"]
        (cited,) = answer["annotations"]
        assert cited["filename"] == named[1]
        right += (named[1], named[2]) == (filename, heading)
    assert right >= ENOUGH * len(QUESTIONS)


async def test_guides_links_open_the_document_at_the_section(guide):
    answer = (await guide.client.post("chat", json={"message": "how do I set my key?"})).json()
    (link,) = re.findall(rf"\[README.md, “Set your OpenAI key”\]\({LISTEN}(\S+)\)", answer["message"])
    path, _, anchor = link.partition("#")
    page = await guide.client.get(guide.base_url.removesuffix("/api/v1/") + path)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f'<h2 id="{anchor}">Set your OpenAI key</h2>' in page.text
    assert "unsafe" not in page.headers["content-security-policy"]
    assert (await guide.client.get("/guide/../main.py")).status_code == 404


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_inside_lead_somewhere(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://")):
            name, _, anchor = target.partition("#")
            found = (path.parent / name) if name else path
            assert found.exists(), target
            assert not anchor or anchor in {
                re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in sections(found)
            }


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_settings_named_in_a_document_exist(path):
    known = {name.upper() for name in Settings.model_fields}
    groups = {name.partition("_")[0] for name in known if "_" in name} - {"OPENAI", "RUN"}
    named = re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", path.read_text(encoding="utf-8"))
    assert [name for name in named if name.partition("_")[0] in groups and name not in known] == []


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_documented_with_its_default(name):
    field = Settings.model_fields[name]
    shown = as_text(field.get_default(call_default_factory=True))
    rows = re.findall(
        rf"(?m)^\| `{name.upper()}` \| (.*?) \| (.+) \|$", (ROOT / "docs/configuration.md").read_text()
    )
    assert [(value.strip("` "), bool(meaning)) for value, meaning in rows] == [(shown, True)]


PARITY = sections(ROOT / "docs/PARITY.md")


@pytest.mark.parametrize(
    ("heading", "fields"),
    [
        ("The assistant object, field by field", AssistantRead.model_fields),
        ("The thread object, field by field", Thread.model_fields),
        ("The message object, field by field", Message.model_fields),
        ("The run object, field by field", Run.model_fields),
        ("Run steps, field by field", RunStep.model_fields),
        ("Parameters of a run", run_create_params.RunCreateParamsBase.__annotations__),
        ("Parameters of a run", thread_create_and_run_params.ThreadCreateAndRunParamsBase.__annotations__),
        ("The message object, field by field", message_create_params.MessageCreateParams.__annotations__),
    ],
)
def test_parity_names_every_field(heading, fields):
    named = set(re.findall(r"[a-z_]{2,}", PARITY[heading]))
    assert set(fields) - named - {"object"} == set()
