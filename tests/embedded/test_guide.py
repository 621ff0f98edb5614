"""The guide answers from the documents, the thread and attached files, in English and Korean."""

import io
import json

import pytest

from tests.embedded.support import collect, names


@pytest.fixture
async def client(serve):
    async with serve(responder="guide") as client:
        yield client


async def _ask(client, *questions):
    """The answer to the last of some questions in one conversation: its text and its annotations."""
    conversation = await client.conversations.create()
    for question in questions:
        response = await client.responses.create(model="m", conversation=conversation.id, input=question)
    part = response.output[-1].content[0]
    return part.text, part.annotations


@pytest.mark.parametrize(
    ("question", "filename", "passage"),
    [
        ("how do I set my key?", "README.md", "export OPENAI_API_KEY=sk-your-key"),
        ("Where does the API key go?", "README.md", "export OPENAI_API_KEY=sk-your-key"),
        ("how do I stream?", "README.md", "read server-sent events"),
        ("How can I use streaming responses?", "README.md", "read server-sent events"),
        ("how do I change the model?", "README.md", "ASSISTANT_MODEL"),
        ("how do I change the instructions?", "README.md", "ASSISTANT_INSTRUCTIONS"),
        ("how do I embed it in React?", "README.md", "in any React component"),
        ("how do I deploy it?", "docs/operations.md", "docker compose up"),
        ("where are the logs?", "docs/operations.md", "LOG_FILE"),
        ("API 키는 어떻게 설정해?", "README.ko.md", "export OPENAI_API_KEY=sk-your-key"),
        ("스트리밍은 어떻게 해?", "README.ko.md", "서버 전송 이벤트"),
        ("모델을 바꾸고 싶어요", "README.ko.md", "ASSISTANT_MODEL"),
        ("도커로 배포하려면?", "README.ko.md", "docker compose up"),
    ],
)
async def test_it_quotes_the_passage_and_cites_its_file(client, question, filename, passage):
    text, annotations = await _ask(client, question)
    quoted = "\n".join(line for line in text.splitlines() if line.startswith(">"))
    assert passage in quoted
    (cited,) = annotations
    assert (cited.type, cited.filename) == ("file_citation", filename)
    assert text[: cited.index].endswith(quoted)
    assert "OPENAI_API_KEY" in text.splitlines()[-1]


async def test_a_setting_named_in_korean_is_found_in_the_other_documents(client):
    text, (cited,) = await _ask(client, "LOG_FILE 뭐야?")
    assert "부분에 이렇게 나와 있습니다:" in text
    assert cited.filename == "docs/operations.md"


async def test_the_cited_file_can_be_read(client):
    _, (cited,) = await _ask(client, "how do I stream?")
    assert (await client.files.retrieve(cited.file_id)).filename == "README.md"
    assert b"# Soloist" in (await client.files.content(cited.file_id)).read()


async def test_a_citation_streams_as_an_annotation(client):
    stream = await client.responses.create(model="m", input="how do I stream?", stream=True)
    events = await collect(stream)
    assert names(events)[2:] == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    part = events[-1].response.output[0].content[0]
    assert "".join(event.delta for event in events if event.type.endswith("text.delta")) == part.text


@pytest.mark.parametrize(
    ("questions", "answer"),
    [
        (["My name is Mina.", "How do I stream?", "What is my name?"], "Mina"),
        (["my name's Mina", "what's my name"], "Mina"),
        (["Call me Mina!", "Who am I?"], "Mina"),
        (["my favorite color is green", "what is my favourite colour?"], "green"),
        (["my name is Mina", "my name is Juno", "Do you remember my name?"], "Juno"),
        (["내 이름은 미나야", "내 이름이 뭐야?"], "미나"),
        (["제 이름은 미나입니다.", "제 이름이 무엇인가요?"], "미나"),
        (["내 취미는 등산이야", "내 취미가 뭐였지? 기억해?"], "등산"),
        (["my name is Mina", "내 이름이 뭐야?"], "Mina"),
    ],
)
async def test_it_remembers_what_the_thread_told(client, questions, answer):
    text, _ = await _ask(client, *questions)
    assert answer in text


async def test_it_does_not_know_what_other_threads_told(client):
    await _ask(client, "my name is Mina")
    text, _ = await _ask(client, "what is my name?")
    assert text == "You have not told me your name in this thread."


async def test_it_introduces_soloist_from_the_readme(client):
    text, (cited,) = await _ask(client, "What is Soloist?")
    assert "> One fixed assistant behind one small API" in text
    assert cited.filename == "README.md"


@pytest.mark.parametrize(
    "greeting", ["Hello", "hi there!", "안녕", "안녕하세요!", "Who are you?", "help", "뭘 할 수 있어?"]
)
async def test_a_greeting_says_who_answers_and_what_brings_the_real_one(client, greeting):
    text, annotations = await _ask(client, greeting)
    assert "OPENAI_API_KEY" in text
    assert "offline guide" in text or "오프라인 안내" in text
    assert annotations == []


@pytest.mark.parametrize("question", ["Who won the world cup?", "김치는 어떻게 담가?", "???"])
async def test_a_miss_is_said_plainly(client, question):
    text, annotations = await _ask(client, question)
    assert "OPENAI_API_KEY" in text
    assert annotations == []


async def test_without_documents_it_says_so(serve, tmp_path):
    async with serve(responder="guide", docs=tmp_path) as client:
        text, _ = await _ask(client, "how do I stream?")
    assert "README.md" in text


async def test_an_attached_file_is_searched_and_cited(client):
    data = b"Invoices are paid within thirty days.\n\nHolidays are booked with Ms Lindqvist.\n"
    file = await client.files.create(file=("office.txt", io.BytesIO(data)), purpose="user_data")
    parts = [
        {"type": "input_file", "file_id": file.id},
        {"type": "input_text", "text": "Who books holidays?"},
    ]
    response = await client.responses.create(model="m", input=[{"role": "user", "content": parts}])
    part = response.output[0].content[0]
    assert "> Holidays are booked with Ms Lindqvist." in part.text
    assert [cited.file_id for cited in part.annotations] == [file.id]


async def test_a_chart_is_drawn(client):
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    response = await client.responses.create(model="m", input="차트: 사과 3, 배 5", tools=tools)
    assert response.output[1].content[0].annotations[0].type == "container_file_citation"


_TOOL = {
    "type": "function",
    "name": "look_up",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.mark.parametrize(
    ("question", "arguments"),
    [
        ("Look up for Busan?", {"city": "Busan"}),
        ("look_up 부산", {"city": "부산"}),
        ('call LOOK-UP with {"city": "Seoul"} please', {"city": "Seoul"}),
        ("look up", {"city": "some city"}),
    ],
)
async def test_a_function_that_the_question_names_is_called(client, question, arguments):
    conversation = await client.conversations.create()
    asked = {"model": "m", "conversation": conversation.id, "tools": [_TOOL]}
    (call,) = (await client.responses.create(input=question, **asked)).output
    assert (call.name, json.loads(call.arguments)) == ("look_up", arguments)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "clear\n21 degrees"}
    answer = await client.responses.create(input=[output], **asked)
    assert "> clear\n> 21 degrees" in answer.output_text


@pytest.mark.parametrize("question", ["how do I lookup my key?", "how do I stream?"])
async def test_other_questions_call_no_function(client, question):
    response = await client.responses.create(model="m", input=question, tools=[_TOOL])
    assert [item.type for item in response.output] == ["message"]


async def test_no_function_is_called_where_none_may_be(client):
    response = await client.responses.create(
        model="m", input="look up Busan", tools=[_TOOL], tool_choice="none"
    )
    assert [item.type for item in response.output] == ["message"]
