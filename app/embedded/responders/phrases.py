"""The guide's own sentences in English and Korean."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrases:
    """One language; braces are filled with `str.format`."""

    greeting: str
    thanks: str
    miss: str
    no_documents: str
    found: str
    found_in_file: str
    also: str
    tool_answered: str
    noted: str
    recalled: str
    not_told: str
    chart: str
    signature: str


ENGLISH = Phrases(
    greeting=(
        "Hello! I am Soloist's offline guide: I answer from its README and docs, "
        "and no language model is behind me. "
        "Set `OPENAI_API_KEY` and restart to talk to the real assistant. "
        "Until then, try “How do I set my key?” or “How do I stream?”"
    ),
    thanks="You are welcome! Ask on; `OPENAI_API_KEY` brings the real assistant.",
    miss=(
        "I found nothing about that in Soloist's documents. I am its offline guide and only know those; "
        "set `OPENAI_API_KEY` and restart, and the real assistant answers here."
    ),
    no_documents=(
        "I am Soloist's offline guide, but I find no README.md or docs/ to answer from here. "
        "Set `OPENAI_API_KEY` and restart, and the real assistant answers."
    ),
    found="From {place}:",
    found_in_file="From your file {filename}:",
    also="See also {places}.",
    tool_answered="The tool answered:",
    noted="Noted: your {what} is {value}. I remember that in this thread.",
    recalled="Your {what} is {value}.",
    not_told="You have not told me your {what} in this thread.",
    chart="Here is your chart:",
    signature="(Offline guide; `OPENAI_API_KEY` brings the real assistant.)",
)

KOREAN = Phrases(
    greeting=(
        "안녕하세요! 저는 Soloist의 오프라인 안내입니다. "
        "README와 문서에서 찾아 답하며, 뒤에 언어 모델은 없습니다. "
        "`OPENAI_API_KEY`를 설정하고 다시 시작하면 실제 어시스턴트가 답합니다. "
        "우선 “API 키는 어떻게 설정해?”나 “스트리밍은 어떻게 해?”라고 물어보세요."
    ),
    thanks="천만에요! 더 물어보세요. `OPENAI_API_KEY`를 설정하면 실제 어시스턴트가 답합니다.",
    miss=(
        "Soloist 문서에서 관련 내용을 찾지 못했습니다. 저는 문서만 아는 오프라인 안내입니다. "
        "`OPENAI_API_KEY`를 설정하고 다시 시작하면 실제 어시스턴트가 답합니다."
    ),
    no_documents=(
        "저는 Soloist의 오프라인 안내인데, 여기에는 답할 README.md나 docs/가 없습니다. "
        "`OPENAI_API_KEY`를 설정하고 다시 시작하면 실제 어시스턴트가 답합니다."
    ),
    found="{place} 부분에 이렇게 나와 있습니다:",
    found_in_file="첨부하신 {filename}에서 찾았습니다:",
    also="함께 볼 곳: {places}.",
    tool_answered="도구의 답입니다:",
    noted="기억했습니다. {what}: {value}. 이 대화에서 잊지 않겠습니다.",
    recalled="{what}: {value}. 이 대화에서 알려 주셨습니다.",
    not_told="이 대화에서 아직 알려 주시지 않았습니다: {what}.",
    chart="요청하신 차트입니다:",
    signature="(오프라인 안내입니다. `OPENAI_API_KEY`를 설정하면 실제 어시스턴트가 답합니다.)",
)
