"""A streamed run whose functions this program carries out; only `base_url` is new.

Start the service with ASSISTANT_FILE=examples/assistants/signage-analyst.json, then:

    pip install openai
    python stream_with_tools.py "Which airport screens are offline?"
"""

import json
import os
import sys

from openai import AssistantEventHandler, OpenAI
from openai.types.beta import AssistantStreamEvent

client = OpenAI(
    base_url=os.environ.get("SOLOIST_URL", "http://127.0.0.1:8010/api/v1"),
    api_key=os.environ.get("SOLOIST_KEY", "none"),
)
assistant_id = os.environ.get("ASSISTANT_ID", "asst_soloist")
question = " ".join(sys.argv[1:]) or "Use a tool: which airport screens are offline?"


def carry_out(name: str, arguments: str) -> str:
    """Answer a function call; a real program would ask its database here."""
    if name == "list_screens":
        return json.dumps([{"id": "scr_12", "site": "Airport, gate B4", "state": "offline"}])
    return json.dumps({"error": f"{name} is not available in this example", "arguments": arguments})


class Handler(AssistantEventHandler):
    """Prints text as it comes and answers tool calls."""

    def on_text_delta(self, delta, snapshot) -> None:
        """Print a piece of the answer."""
        print(delta.value, end="", flush=True)

    def on_event(self, event: AssistantStreamEvent) -> None:
        """Carry out the calls that the run waits for, and go on with its stream."""
        if event.event != "thread.run.requires_action":
            return
        run = event.data
        calls = run.required_action.submit_tool_outputs.tool_calls
        for call in calls:
            print(f"[{call.function.name} {call.function.arguments}]")
        outputs = [
            {"tool_call_id": call.id, "output": carry_out(call.function.name, call.function.arguments)}
            for call in calls
        ]
        with client.beta.threads.runs.submit_tool_outputs_stream(
            thread_id=run.thread_id, run_id=run.id, tool_outputs=outputs, event_handler=Handler()
        ) as stream:
            stream.until_done()


thread = client.beta.threads.create(messages=[{"role": "user", "content": question}])
with client.beta.threads.runs.stream(
    thread_id=thread.id, assistant_id=assistant_id, event_handler=Handler()
) as stream:
    stream.until_done()
print()
