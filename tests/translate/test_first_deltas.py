"""The first delta of a part has its empty list of annotations, whatever is held back before it."""

import json

import pytest

from app.translate.citations import CitingEncoder
from app.translate.marks import AssistantsStage
from app.translate.protocols.assistants_sse import AssistantsEncoder
from tests.translate.upstream_events import added, created, done, ended, fed, message, text


@pytest.mark.parametrize(
    ("mode", "pieces"),
    [("raw", ["One", " two"]), ("raw", ["", "One"]), ("markdown", ["【0", "†x】One", " two"])],
)
def test_the_first_delta_of_a_part(mode, pieces):
    whole = message("".join(pieces))
    encoder = CitingEncoder(AssistantsEncoder(), AssistantsStage(mode, "/files/{}".format))
    events = fed(
        [*created(), added(message("", content=[])), *map(text, pieces), done(whole), ended(output=[whole])]
    )
    frames = b"".join(map(encoder.encode, events)).decode().split("\n\n")
    deltas = [json.loads(frame.split("data: ")[1]) for frame in frames if "message.delta\n" in frame]
    parts = [delta["delta"]["content"][0]["text"] for delta in deltas]
    assert parts[0]["annotations"] == []
    assert all("annotations" not in part for part in parts[1:])
