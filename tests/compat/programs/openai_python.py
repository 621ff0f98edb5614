"""openai-python as its documents show it: threads, polled and streamed runs, functions, files, charts."""

import json

import openai
from openai import AssistantEventHandler, OpenAI
from report import base_url, run

client = OpenAI(base_url=base_url(), api_key="none")
assistant = client.beta.assistants.list().data[0]


class EventHandler(AssistantEventHandler):
    """Collects what the stream tells, and answers the functions that it asks for."""

    def __init__(self):
        super().__init__()
        self.text, self.code, self.logs = "", "", ""

    def on_text_delta(self, delta, snapshot):
        """Collect a piece of the answer; the snapshot must hold all pieces."""
        self.text += delta.value or ""
        assert snapshot.value == self.text

    def on_tool_call_delta(self, delta, snapshot):
        """Collect the code that is run, and what it prints."""
        if delta.type == "code_interpreter":
            self.code += delta.code_interpreter.input or ""
            for output in delta.code_interpreter.outputs or []:
                self.logs += output.logs if output.type == "logs" else ""

    def on_event(self, event):
        """Answer the functions that the run waits for."""
        if event.event != "thread.run.requires_action":
            return
        calls = event.data.required_action.submit_tool_outputs.tool_calls
        outputs = [{"tool_call_id": call.id, "output": weather(call)} for call in calls]
        with client.beta.threads.runs.submit_tool_outputs_stream(
            thread_id=event.data.thread_id,
            run_id=event.data.id,
            tool_outputs=outputs,
            event_handler=EventHandler(),
        ) as stream:
            stream.until_done()
            self.text += stream.get_final_messages()[0].content[0].text.value


def weather(call):
    """Carry out a function call."""
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)
    return "sunny"


def thread_and_run():
    """Create a thread, a message and a run, and read the answer."""
    thread = client.beta.threads.create()
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content="Good morning")
    done = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert done.status == "completed", done.status
    answer = client.beta.threads.messages.list(thread_id=thread.id, run_id=done.id).data[0]
    assert answer.content[0].text.value == "You said: Good morning"
    assert [step.type for step in client.beta.threads.runs.steps.list(done.id, thread_id=thread.id)] == [
        "message_creation"
    ]
    assert client.beta.threads.delete(thread.id).deleted


def streamed(prompt, **message):
    """Stream a run on a thread of its own; its handler."""
    thread = client.beta.threads.create(messages=[{"role": "user", "content": prompt, **message}])
    handler = EventHandler()
    with client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id=assistant.id, event_handler=handler
    ) as stream:
        stream.until_done()
    return handler


def live_text():
    """Stream an answer."""
    assert streamed("Good morning").text == "You said: Good morning"


def function_calls():
    """Answer the functions that a streamed run asks for."""
    assert streamed("use tools").text == "The tool answered: sunny; sunny"


def tools_of_both():
    """Answer one of two functions that a streamed run calls; the service carries out the other."""
    assert streamed("calls:2").text == "The tool answered: looked up; sunny"


def citations():
    """Number the citations of an answer, with the loop of OpenAI's documents."""
    file = client.files.create(file=("notes.txt", b"All is well on the ship."), purpose="assistants")
    attachment = {"file_id": file.id, "tools": [{"type": "file_search"}]}
    handler = streamed("cite: all is well", attachments=[attachment])
    text = handler.get_final_messages()[0].content[0].text
    assert all(text.value[each.start_index : each.end_index] == each.text for each in text.annotations)
    numbered = []
    for index, annotation in enumerate(text.annotations):
        text.value = text.value.replace(annotation.text, f"[{index}]")
        if file_citation := getattr(annotation, "file_citation", None):
            numbered.append(f"[{index}] {client.files.retrieve(file_citation.file_id).filename}")
    assert numbered == ["[0] notes.txt"], numbered
    assert text.value.count("[0]") == 1, text.value


def chart():
    """Have a chart drawn, and download it."""
    handler = streamed("draw a chart of apples 3 pears 5")
    assert "bar_chart" in handler.code, handler.code
    content = handler.get_final_messages()[0].content
    ids = [part.image_file.file_id for part in content if part.type == "image_file"]
    for part in content:
        for annotation in part.text.annotations if part.type == "text" else []:
            ids += [annotation.file_path.file_id] if annotation.type == "file_path" else []
    assert ids, content
    assert all(client.files.content(each).read().startswith(b"\x89PNG") for each in ids)


run(openai.__version__, thread_and_run, live_text, function_calls, tools_of_both, citations, chart)
