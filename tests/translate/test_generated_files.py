"""Generated files in the AI SDK's stream: a part that shows the file, where it is known how to reach it."""

from app.translate.events import AnnotationAdded, RunCreated
from app.translate.protocols.ai_sdk import AiSdkEncoder

RUN = {"id": "run_1", "thread_id": "thread_1", "status": "queued"}
CHART = {"type": "file_path", "index": 5, "file_id": "cfile_1.cntr_2", "filename": "chart.png"}


def test_a_generated_file_is_a_file_part_once():
    encoder = AiSdkEncoder(file_url=lambda file_id: f"https://x.example/files/{file_id}")
    encoder.encode(RunCreated(RUN))
    frames = [encoder.encode(AnnotationAdded("msg_1", 0, number, {}, CHART)) for number in range(2)]
    assert frames == [
        b'data: {"type":"file","url":"https://x.example/files/cfile_1.cntr_2","mediaType":"image/png"}\n\n',
        b"",
    ]


def test_a_cited_file_stays_a_source():
    encoder = AiSdkEncoder(file_url=lambda file_id: file_id)
    encoder.encode(RunCreated(RUN))
    cited = {"type": "file_citation", "index": 5, "file_id": "file_1", "filename": "a.pdf"}
    assert b'"type":"source-document"' in encoder.encode(AnnotationAdded("msg_1", 0, 0, {}, cited))
