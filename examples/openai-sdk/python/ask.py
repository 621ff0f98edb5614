"""Assistants code from before the switch-off: only `base_url` is new.

pip install openai
python ask.py "How do I stream?"
"""

import os
import sys

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("SOLOIST_URL", "http://127.0.0.1:8010/api/v1"),
    api_key=os.environ.get("SOLOIST_KEY", "none"),
)
assistant_id = os.environ.get("ASSISTANT_ID", "asst_soloist")
question = " ".join(sys.argv[1:]) or "How do I stream?"

thread = client.beta.threads.create()
client.beta.threads.messages.create(thread_id=thread.id, role="user", content=question)
run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant_id)
if run.status != "completed":
    sys.exit(f"The run is {run.status}: {run.last_error}")

for message in client.beta.threads.messages.list(thread_id=thread.id, order="asc"):
    for part in message.content:
        if part.type == "text":
            print(f"{message.role}: {part.text.value}")

client.beta.threads.delete(thread.id)
