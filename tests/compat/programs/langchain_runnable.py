"""LangChain's assistant runnables, invoked and as agents, as their documents show."""

from importlib.metadata import version

from langchain_classic.agents.openai_assistant import OpenAIAssistantRunnable
from langchain_community.agents.openai_assistant import OpenAIAssistantV2Runnable
from openai import AsyncOpenAI, OpenAI
from report import base_url, run

client = OpenAI(base_url=base_url(), api_key="none")
clients = {"client": client, "async_client": AsyncOpenAI(base_url=base_url(), api_key="none")}
assistant_id = client.beta.assistants.list().data[0].id
v2 = OpenAIAssistantV2Runnable(assistant_id=assistant_id, check_every_ms=50, **clients)
agent = OpenAIAssistantV2Runnable(assistant_id=assistant_id, check_every_ms=50, as_agent=True, **clients)


def first_runnable():
    """Ask with the runnable of the first Assistants API."""
    runnable = OpenAIAssistantRunnable(assistant_id=assistant_id, check_every_ms=50, **clients)
    messages = runnable.invoke({"content": "Good morning"})
    assert messages[0].content[0].text.value == "You said: Good morning"


def thread_and_run():
    """Ask, and ask again on the same thread."""
    messages = v2.invoke({"content": "My name is Mina"})
    again = v2.invoke({"content": "Good morning", "thread_id": messages[0].thread_id})
    assert [message.content[0].text.value for message in again] == ["You said: Good morning"]


async def asynchronous():
    """Ask without blocking."""
    messages = await v2.ainvoke({"content": "Good morning"})
    assert messages[0].content[0].text.value == "You said: Good morning"


def function_calls():
    """Carry out the functions, and go on until the agent has finished."""
    response = agent.invoke({"content": "use tools"})
    while isinstance(response, list):
        outputs = [{"output": "sunny", "tool_call_id": action.tool_call_id} for action in response]
        last = response[-1]
        response = agent.invoke({"tool_outputs": outputs, "run_id": last.run_id, "thread_id": last.thread_id})
    assert response.return_values["output"] == "The tool answered: sunny; sunny"


run(version("langchain-community"), first_runnable, thread_and_run, asynchronous, function_calls)
