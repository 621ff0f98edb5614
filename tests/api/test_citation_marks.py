"""Citations on the Assistants wire: each annotation has a text that stands in the answer where it says."""

import pytest

from tests.fake_thread import FakeThread, message
from tests.fake_upstream import fake_upstream
from tests.support import ASSISTANT, Json, frames, names, text_of

MESSAGES = "threads/thread_1/messages"
STREAM = {"assistant_id": ASSISTANT, "stream": True}
LINK = "sandbox:/mnt/data/out.csv"


def cited(index, name="a.txt", file_id="file-a"):
    return {"type": "file_citation", "index": index, "file_id": file_id, "filename": name}


def made(start, end, name="out.csv"):
    place = {"start_index": start, "end_index": end}
    return {
        "type": "container_file_citation",
        "file_id": "cfile_1",
        "container_id": "cntr_1",
        "filename": name,
        **place,
    }


def web(start, end):
    place = {"start_index": start, "end_index": end}
    return {"type": "url_citation", "url": "https://a.example/", "title": "A", **place}


def linked(text):
    return [made(text.index(LINK), text.index(LINK) + len(LINK))]


CASES = {
    "two files": (
        "Nine 🙂🇺🇦 o'clock, in room 42.",
        [cited(16), cited(len("Nine 🙂🇺🇦 o'clock, in room 42"), "b】\n.txt")],
        "Nine 🙂🇺🇦 o'clock【0†a.txt】, in room 42【1†b .txt】.",
        ["【0†a.txt】", "【1†b .txt】"],
    ),
    "at one place": (
        "Yes.",
        [cited(3), cited(3, "b.txt"), cited(3)],
        "Yes【0†a.txt】【1†b.txt】【2†a.txt】.",
        ["【0†a.txt】", "【1†b.txt】", "【2†a.txt】"],
    ),
    "a name is missing": ("Yes.", [cited(4, "")], "Yes.【0†file-a】", ["【0†file-a】"]),
    "the model's own mark": (
        "Nine【4:0†source】 sharp【4:1†source】.",
        [cited(16), cited(len("Nine【4:0†source】 sharp【4:1†source】"))],
        "Nine【4:0†source】 sharp【4:1†source】.",
        ["【4:0†source】", "【4:1†source】"],
    ),
    "links and web pages keep their text": (
        f"Nine, [get it]({LINK}), says ([a](https://a.example/)) too.",
        [cited(4), *linked(f"Nine, [get it]({LINK})"), web(48, 73), cited(73)],
        f"Nine【0†a.txt】, [get it]({LINK}), says ([a](https://a.example/))【3†a.txt】 too.",
        ["【0†a.txt】", LINK, "([a](https://a.example/))", "【3†a.txt】"],
    ),
    "a generated file without a place": (
        f"Here: [it]({LINK}).",
        [made(0, 0), made(0, 0, "plot.pdf")],
        f"Here: [it]({LINK}).【1†plot.pdf】",
        [LINK, "【1†plot.pdf】"],
    ),
}
WHOLE_ONLY = {
    "the mark begins at the citation": (
        "Nine【4:0†source】.",
        [cited(4)],
        "Nine【4:0†source】.",
        ["【4:0†source】"],
    ),
    "in any order": (
        "One two.",
        [cited(7), cited(3, "b.txt"), web(0, 7)],
        "One【1†b.txt】 two【0†a.txt】.",
        ["【0†a.txt】", "【1†b.txt】", "One【1†b.txt】 two"],
    ),
    "nonsense": (
        "Yes.",
        [cited(-5), cited(10**8, "b.txt"), cited(2.0, "c.txt"), cited(None, "d.txt")],
        "【0†a.txt】Ye【2†c.txt】s.【1†b.txt】【3†d.txt】",
        ["【0†a.txt】", "【1†b.txt】", "【2†c.txt】", "【3†d.txt】"],
    ),
}


def check(text: Json, value: str, marks: list[str]) -> None:
    """The text is as expected, and each annotation is where its indices say."""
    assert text["value"] == value
    assert [found["text"] for found in text["annotations"]] == marks
    for found in text["annotations"]:
        assert value[found["start_index"] : found["end_index"]] == found["text"]


def told(events):
    """The message that the deltas of a stream add up to."""
    text: Json = {"value": "", "annotations": []}
    for name, data in events:
        if name == "thread.message.delta":
            (part,) = data["delta"]["content"]
            grown = part["text"]
            text["value"] += grown.get("value", "")
            for annotation in grown.get("annotations", []):
                assert annotation["index"] == len(text["annotations"])
                text["annotations"].append(
                    {key: value for key, value in annotation.items() if key != "index"}
                )
                # Whoever reads the stream can replace at once.
                assert annotation["text"] in text["value"]
    return text


def completed(events) -> Json:
    (found,) = [data for name, data in events if name == "thread.message.completed"]
    text: Json = found["content"][0]["text"]
    return text


@pytest.mark.parametrize("case", CASES | WHOLE_ONLY)
async def test_messages_show_the_marks(start, case):
    text, annotations, value, marks = (CASES | WHOLE_ONLY)[case]
    upstream = FakeThread([message(text, annotations)])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url) as service:
        page = (await service.client.get(MESSAGES)).json()
        found = (await service.client.get(f"{MESSAGES}/msg_1")).json()
    check(page["data"][0]["content"][0]["text"], value, marks)
    assert page["data"] == [found]


@pytest.mark.parametrize("case", CASES)
async def test_a_stream_brings_the_same_text_as_the_messages(start, case):
    text, annotations, value, marks = CASES[case]
    upstream = FakeThread([message(text, annotations)])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url, is_served=True) as service:
        events = frames((await service.client.post("threads/thread_1/runs", json=STREAM)).text)
        page = (await service.client.get(MESSAGES)).json()
    check(told(events), value, marks)
    assert completed(events) == told(events) == page["data"][0]["content"][0]["text"]


async def test_a_mark_and_its_annotation_come_in_one_delta(start):
    upstream = FakeThread([message("Nine, yes.", [cited(4)])])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url, is_served=True) as service:
        events = frames((await service.client.post("threads/thread_1/runs", json=STREAM)).text)
    deltas = [data["delta"] for name, data in events if name == "thread.message.delta"]
    annotation = {
        "index": 0,
        "type": "file_citation",
        "text": "【0†a.txt】",
        "start_index": 4,
        "end_index": 13,
        "file_citation": {"file_id": "file-a", "quote": ""},
    }
    assert [delta["content"] for delta in deltas] == [
        [{"index": 0, "type": "text", "text": {"value": "Nine", "annotations": []}}],
        [{"index": 0, "type": "text", "text": {"value": "【0†a.txt】", "annotations": [annotation]}}],
        [{"index": 0, "type": "text", "text": {"value": ", yes."}}],
    ]
    assert names(events)[-4:] == [
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
        "done",
    ]


@pytest.mark.parametrize("mode", ["raw", "markdown", "footnotes", "strip"])
async def test_a_run_followed_from_any_event_adds_up(start, mode):
    text = f"Nine, see【4:0†old】 it ({LINK}) and so on."
    upstream = FakeThread([message(text, [cited(4), *linked(text), cited(len(text))])])
    async with (
        fake_upstream(upstream.handle) as fake,
        start(url=fake.url, is_served=True, citations=mode) as service,
    ):
        path = "threads/thread_1/runs/run_1/events"
        whole = frames((await service.client.get(path)).text)
        for after in range(len(upstream.events())):
            first = (await service.client.get(path)).text
            blocks = first.split("\n\n")
            kept = [at for at, block in enumerate(blocks) if f"\nid: {after}\n" in f"\n{block}\n"]
            rest = (await service.client.get(path, params={"starting_after": after})).text
            if kept:
                assert frames("\n\n".join(blocks[: kept[-1] + 1])) + frames(rest) == whole
    assert completed(whole) == told(whole)


SHOWN = {
    "raw": (f"Nine【0†a.txt】, [get]({LINK})【2†b.txt】.", ["【0†a.txt】", LINK, "【2†b.txt】"]),
    "markdown": ("Nine[1], [get](URL)[2].\n\n- [1] a.txt\n- [2] b.txt", ["[1]", "URL", "[2]"]),
    "footnotes": ("Nine[^1], [get](URL)[^2].\n\n[^1]: a.txt\n[^2]: b.txt", ["[^1]", "URL", "[^2]"]),
    "strip": ("Nine, [get](URL).", []),
}


@pytest.mark.parametrize("mode", SHOWN)
async def test_the_setting_chooses_the_form_of_the_marks(start, mode):
    text = f"Nine, [get]({LINK})."
    annotations = [cited(4), *linked(text), cited(len(text) - 1, "b.txt", "file-b")]
    upstream = FakeThread([message(text, annotations)])
    async with (
        fake_upstream(upstream.handle) as fake,
        start(url=fake.url, is_served=True, citations=mode) as service,
    ):
        events = frames((await service.client.post("threads/thread_1/runs", json=STREAM)).text)
        page = (await service.client.get(MESSAGES)).json()
    url = "/api/v1/files/cfile_1.cntr_1/content"
    value, marks = SHOWN[mode]
    check(completed(events), value.replace("URL", url), [mark.replace("URL", url) for mark in marks])
    assert told(events) == completed(events) == page["data"][0]["content"][0]["text"]
    assert text_of(events) == completed(events)["value"]


async def test_questions_and_exports_stay_as_they_were_written(start):
    question = message("Is it【1†x】?", role="user", id="msg_0")
    answer = message("Yes.", [cited(3)])
    upstream = FakeThread([answer], [question, answer])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url, citations="markdown") as service:
        page = (await service.client.get(MESSAGES)).json()
        export = (await service.client.get("threads/thread_1/export")).json()
    shown = [found["content"][0]["text"]["value"] for found in page["data"]]
    assert shown == ["Yes[1].\n\n- [1] a.txt", "Is it【1†x】?"]
    assert [found["content"][0]["text"]["value"] for found in export["data"]] == ["Is it【1†x】?", "Yes."]
