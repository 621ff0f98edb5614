"""Citations rendered into text: the same text whatever the slices, and places that fit it."""

from typing import Any

import pytest

from app.translate.citations import CitationStage, CitingEncoder
from app.translate.events import (
    AnnotationAdded,
    DomainEvent,
    MessageEnded,
    RunEnded,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
)
from app.translate.protocols.chat_sse import ChatEncoder
from app.translate.protocols.plain_text import TextEncoder

Json = dict[str, Any]
Pair = tuple[Json, Json]
MODES: list[Any] = ["markdown", "footnotes", "strip"]
STEPS = [1, 2, 3, 5, 7, 11, 50, 1000]


def url_of(file_id: str) -> str:
    return f"/api/v1/files/{file_id}/content"


def cited(text: str, span: str, kind: str, **source: Any) -> Pair:
    """An annotation over `span` of the text, in both of its forms."""
    start = text.index(span)
    end = start + len(span)
    annotation = {"type": kind, "text": span, "start_index": start, "end_index": end}
    return annotation, {"type": kind, "index": end, **source}


def at_end(text: str, kind: str, **source: Any) -> Pair:
    annotation = {"type": kind, "text": "", "start_index": len(text), "end_index": len(text)}
    return annotation, {"type": kind, "index": len(text), **source}


def ended(text: str, pairs: list[Pair]) -> RunEnded:
    value = {"value": text, "annotations": [annotation for annotation, _ in pairs]}
    message = {"id": "msg_1", "content": [{"type": "text", "text": value}]}
    return RunEnded({"status": "completed"}, [message], [source for _, source in pairs])


def followed(stage: CitationStage, text: str, pairs: list[Pair], step: int) -> list[DomainEvent]:
    """Stream the text in slices, each annotation right behind the slice that it ends in."""
    events: list[DomainEvent] = []
    for start in range(0, len(text), step):
        events += stage.feed(TextDelta("msg_1", 0, text[start : start + step]))
        for number, (annotation, source) in enumerate(pairs):
            if start < annotation["end_index"] <= start + step:
                events += stage.feed(AnnotationAdded("msg_1", 0, number, annotation, source))
    end = ended(text, pairs)
    events += stage.feed(MessageEnded(end.messages[0]))
    return [*events, *stage.feed(end)]


def outcome(event: DomainEvent) -> tuple[str, list[int]]:
    assert isinstance(event, RunEnded)
    return event.messages[0]["content"][0]["text"]["value"], [source["index"] for source in event.sources]


OLD = "See the (small) manual【4:0†source】 and the log【5†x】. [chart.png](sandbox:/mnt/data/chart.png) ok."
OLD_PAIRS = [
    cited(OLD, "【4:0†source】", "file_citation", file_id="f1", filename="man[ual].txt"),
    cited(OLD, "【5†x】", "file_citation", file_id="f2", filename="log.txt"),
    cited(OLD, "sandbox:/mnt/data/chart.png", "file_path", file_id="c1.x", filename="chart.png"),
]
RENDERED = {
    "markdown": "See the (small) manual[1] and the log[2]. [chart.png](/api/v1/files/c1.x/content) ok."
    "\n\n- [1] man\\[ual\\].txt\n- [2] log.txt",
    "footnotes": "See the (small) manual[^1] and the log[^2]. [chart.png](/api/v1/files/c1.x/content) ok."
    "\n\n[^1]: man\\[ual\\].txt\n[^2]: log.txt",
    "strip": "See the (small) manual and the log. [chart.png](/api/v1/files/c1.x/content) ok.",
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("mode", MODES)
def test_old_marks_and_links_are_rendered_in_any_slices(mode, step):
    events = followed(CitationStage(mode, url_of), OLD, OLD_PAIRS, step)
    text, places = outcome(events[-1])
    assert text == RENDERED[mode]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == text
    whole = outcome(CitationStage(mode, url_of).ended(ended(OLD, OLD_PAIRS)))
    assert whole == (text, places)
    assert text[: places[0]].endswith("manual")
    assert text[: places[1]].endswith("log")
    assert text[: places[2]].endswith("/c1.x/content")


@pytest.mark.parametrize("mode", MODES)
def test_what_nothing_cites_loses_its_marks_and_keeps_its_links(mode):
    text = "One【1:2†a】 two, 【not a mark】 and sandbox:/mnt/data/x.csv there. " + "Much more text. " * 30
    for step in STEPS:
        rendered, _ = outcome(followed(CitationStage(mode, url_of), text, [], step)[-1])
        assert rendered == text.replace("【1:2†a】", "")


@pytest.mark.parametrize("text", ["A 【", "A (sand", "A sandbox:", "A 【4:0†so", "sandbox:/", "(", "s"])
def test_an_end_that_looks_like_a_beginning_comes_out(text):
    for step in STEPS:
        assert outcome(followed(CitationStage("markdown", url_of), text, [], step)[-1])[0] == text


def test_text_is_not_held_for_long():
    stage = CitationStage("markdown", url_of)
    stage.feed(TextDelta("msg_1", 0, "x【1†y】"))
    sent = "".join(
        event.text
        for _ in range(100)
        for event in stage.feed(TextDelta("msg_1", 0, "words and "))
        if isinstance(event, TextDelta)
    )
    assert len(sent) > 700


def test_sources_keep_their_numbers_and_are_listed_once():
    text = "First. Second. Third."
    pairs = [
        cited(text, "First", "file_citation", file_id="f1", filename="a.txt"),
        cited(text, "Second", "url_citation", url="https://b.example", title="B"),
        cited(text, "Third", "file_citation", file_id="f1", filename="a.txt"),
    ]
    rendered, _ = outcome(CitationStage("markdown", url_of).ended(ended(text, pairs)))
    assert rendered == "First[1]. Second[2]. Third[1].\n\n- [1] a.txt\n- [2] [B](https://b.example)"


def test_a_source_cited_twice_at_one_place_is_marked_once():
    pairs = [at_end("Yes.", "file_citation", file_id="f1", filename="a.txt")] * 2
    rendered, places = outcome(CitationStage("markdown", url_of).ended(ended("Yes.", pairs)))
    assert rendered == "Yes.[1]\n\n- [1] a.txt"
    assert places == [4, 7]


def test_an_address_that_the_text_has_is_not_marked():
    text = "Read ([b](https://b.example/x))."
    pairs = [cited(text, "([b](https://b.example/x))", "url_citation", url="https://b.example/x", title="B")]
    assert outcome(CitationStage("markdown", url_of).ended(ended(text, pairs)))[0] == text


def test_a_generated_file_without_a_link_is_listed():
    pairs = [at_end("Done.", "file_path", file_id="c1.x", filename="out.csv")]
    rendered, _ = outcome(CitationStage("markdown", url_of).ended(ended("Done.", pairs)))
    assert rendered == "Done.\n\n- [out.csv](/api/v1/files/c1.x/content)"


def test_a_failure_lets_go_of_what_is_held():
    stage = CitationStage("markdown", url_of)
    assert stage.feed(TextDelta("msg_1", 0, "see (sandbox:/mnt/x")) == [TextDelta("msg_1", 0, "see (")]
    failed = StreamFailed({"message": "No."})
    assert stage.feed(failed) == [TextDelta("msg_1", 0, "sandbox:/mnt/x"), failed]


def test_refusals_and_other_events_pass():
    stage = CitationStage("markdown", url_of)
    refusal = TextDelta("msg_1", 0, "I cannot【1†x】", "refusal")
    call = ToolCallDelta("step_1", 0, "call_1", "function", "f", "")
    assert stage.feed(refusal) == [refusal]
    assert stage.feed(call) == [call]


def test_an_encoder_behind_the_stage_says_what_its_last_event_says():
    encoder = CitingEncoder(ChatEncoder(), CitationStage("markdown", url_of))
    text = "Yes."
    pairs = [cited(text, "Yes", "file_citation", file_id="f1", filename="a.txt")]
    added = AnnotationAdded("msg_1", 0, 0, *pairs[0], sequence=4)
    frames = encoder.encode(TextDelta("msg_1", 0, "Yes", sequence=3)) + encoder.encode(added)
    source = b'{"type":"file_citation","index":3,"file_id":"f1","filename":"a.txt"}'
    assert frames == (
        b'id: 3\nevent: delta\ndata: {"text":"Yes"}\n\nevent: delta\ndata: {"text":"[1]"}\n\n'
        b"id: 4\nevent: annotation\ndata: " + source + b"\n\n"
    )
    plain = CitingEncoder(TextEncoder(), CitationStage("strip", url_of))
    assert (plain.media_type, plain.keepalive, plain.aborts_on_failure) == ("text/plain", b"", True)
    assert plain.close() == b""


def test_what_is_held_of_commentary_stays_commentary():
    stage = CitationStage("markdown", url_of)
    stage.feed(TextDelta("msg_1", 0, "I look 【", is_commentary=True))
    ended = MessageEnded({"id": "msg_1", "content": []})
    assert stage.feed(ended) == [TextDelta("msg_1", 0, "【", is_commentary=True), ended]
