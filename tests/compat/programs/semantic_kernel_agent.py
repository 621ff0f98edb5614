"""Semantic Kernel's OpenAIAssistantAgent with a plugin, asked and streamed, as its documents show."""

from typing import Annotated

import semantic_kernel
from openai import AsyncOpenAI
from report import base_url, run
from semantic_kernel.agents import AssistantAgentThread, OpenAIAssistantAgent
from semantic_kernel.contents import AnnotationContent, FileReferenceContent, StreamingAnnotationContent
from semantic_kernel.functions import kernel_function


class Weather:
    """A plugin with one function."""

    @kernel_function(name="get_weather", description="Tells the weather.")
    def get_weather(self, city: Annotated[str, "the city"]) -> str:
        """Tell the weather."""
        return "sunny"


async def opened(**options):
    """Return an agent for the service's assistant."""
    client = AsyncOpenAI(base_url=base_url(), api_key="none")
    definition = (await client.beta.assistants.list()).data[0]
    return OpenAIAssistantAgent(client=client, definition=definition, **options)


async def thread_and_run():
    """Ask twice on a thread, then delete it."""
    agent = await opened()
    thread = AssistantAgentThread(client=agent.client)
    for _ in range(2):
        response = await agent.get_response(messages="Good morning", thread=thread)
        assert str(response.message) == "You said: Good morning", response.message
    await thread.delete()


async def live_text():
    """Stream an answer."""
    agent = await opened()
    pieces = [str(response.message) async for response in agent.invoke_stream(messages="Good morning")]
    assert "".join(pieces) == "You said: Good morning", pieces


async def function_calls():
    """Let the agent call the plugin, asked and streamed."""
    agent = await opened(plugins=[Weather()])
    response = await agent.get_response(messages="use a tool")
    assert str(response.message).startswith("The tool answered: sunny"), response.message
    pieces = [str(each.message) async for each in agent.invoke_stream(messages="use a tool")]
    assert "sunny" in "".join(pieces), pieces


async def citations():
    """Read the citations of a streamed answer."""
    agent = await opened()
    file = await agent.client.files.create(file=("notes.txt", b"All is well."), purpose="assistants")
    attachment = {"file_id": file.id, "tools": [{"type": "file_search"}]}
    message = {"role": "user", "content": "cite: all is well", "attachments": [attachment]}
    created = await agent.client.beta.threads.create(messages=[message])
    thread = AssistantAgentThread(client=agent.client, thread_id=created.id)
    items = [
        item
        async for each in agent.invoke_stream(thread=thread)
        for item in each.message.items
        if isinstance(item, StreamingAnnotationContent)
    ]
    assert [item.file_id for item in items] == [file.id], items
    assert items[0].quote, items


async def chart():
    """Have a chart drawn, and download it."""
    agent = await opened()
    response = await agent.get_response(messages="draw a chart of apples 3 pears 5")
    kinds = (AnnotationContent, FileReferenceContent)
    ids = [item.file_id for item in response.message.items if isinstance(item, kinds)]
    assert ids
    content = await agent.client.files.content(ids[0])
    assert content.read().startswith(b"\x89PNG")


run(semantic_kernel.__version__, thread_and_run, live_text, function_calls, citations, chart)
