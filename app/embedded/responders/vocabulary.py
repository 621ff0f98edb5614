"""Words of questions: what to ignore, what means the same, and what Korean words ask for in English."""

import re

_STOP_TEXT = """
a about again all also am an and any anything are as ask at be because been before being but by came can
come could did do does doing done each else even every few find first for from get gets give go goes going
good got had has have having he her here him his how i if in into is it its just know let like ll look made
make many may me mean might more most much must my need no not now of off on one only or other our out over
own please re really reply right said same say see she should show since so some still such sure take tell
than thank thanks that the their them then there these they thing think this those through to too try under
up us use used using ve very want was way we well were what when where which while who why will with without
work works would yes you your explain help soloist
"""
STOP_WORDS = frozenset(_STOP_TEXT.split())

_SYNONYM_TEXT = """
key: key openai_api_key token secret credential
keys: key openai_api_key token secret credential
password: key secret token
credential: key secret token
set: set configure setting environment env
setup: install run start configure setting
configure: configure configuration setting set environment
configuration: configuration configure setting environment
config: configuration configure setting environment
setting: setting configuration environment variable
settings: setting configuration environment variable
env: environment setting variable
stream: stream streaming sse event token
streaming: stream streaming sse event
sse: sse stream streaming event
change: change set setting configure override
switch: change set setting configure
model: model assistant_model
instruction: instruction assistant_instructions prompt system
instructions: instruction assistant_instructions prompt system
prompt: instruction assistant_instructions prompt
embed: embed react frontend fetch browser cors
integrate: embed react frontend fetch
react: react frontend fetch browser
frontend: frontend react browser fetch cors
website: website widget frontend browser cors
browser: browser frontend cors origin
javascript: javascript fetch react node
python: python openai sdk
install: install run clone start run.sh
start: start run serve run.sh
run: run start serve run.sh
deploy: deploy docker compose container production
docker: docker compose container image deploy
upload: upload file files attachment
file: file files upload attachment
tool: tool function submit_tool_outputs
tools: tool function submit_tool_outputs
function: function tool
cancel: cancel stop abort disconnect
stop: cancel stop abort
resume: resume reconnect starting_after events
thread: thread conversation
conversation: thread conversation
history: thread message messages history
log: log logs logging log_file
logs: log logs logging log_file
error: error errors envelope code
errors: error errors envelope code
limit: limit limits rate
auth: auth authentication key token signature
authenticate: auth authentication key token
login: auth authentication token
offline: offline guide embedded
local: local gguf llama local_model_path
port: port host
cors: cors origin cors_origins
azure: azure endpoint
"""
SYNONYMS: dict[str, tuple[str, ...]] = {
    word: tuple(meanings.split())
    for word, _, meanings in (line.partition(": ") for line in _SYNONYM_TEXT.strip().splitlines())
}

_KOREAN_TEXT = """
키: key
열쇠: key
비밀번호: key
설정: set
바꾸: change
바꿔: change
바꿀: change
변경: change
스트리밍: stream
스트림: stream
실시간: stream
모델: model
지시: instructions
인스트럭션: instructions
프롬프트: instructions
리액트: react
임베드: embed
삽입: embed
붙이: embed
연동: embed
프론트: frontend
웹사이트: website
홈페이지: website
브라우저: browser
파이썬: python
자바스크립트: javascript
설치: install
실행: run
시작: start
배포: deploy
도커: docker
업로드: upload
올리: upload
파일: file
첨부: file
도구: tool
함수: function
취소: cancel
중단: cancel
멈추: stop
재개: resume
이어: resume
스레드: thread
대화: conversation
메시지: message
기록: history
로그: log
오류: error
에러: error
제한: limit
인증: auth
로그인: login
오프라인: offline
로컬: local
포트: port
환경: environment
변수: variable
예제: example
테스트: test
삭제: delete
애저: azure
음성: voice
이미지: image
비용: cost
가격: cost
요금: cost
얼마: cost
무료: free
출처: citations
인용: citations
"""
KOREAN: dict[str, str] = {
    word: english for word, _, english in (line.partition(": ") for line in _KOREAN_TEXT.strip().splitlines())
}

HANGUL = re.compile(r"[가-힣]")
_WORD = re.compile(r"[a-z0-9_]+(?:\.[a-z]+)?")


def is_korean(text: str) -> bool:
    """Whether a text is to be answered in Korean."""
    return bool(HANGUL.search(text))


def query_terms(question: str) -> list[tuple[str, ...]]:
    """Search terms of a question: for each word that matters, the words that count as it."""
    lowered = question.lower()
    words = [word for word in _WORD.findall(lowered) if word not in STOP_WORDS and len(word) > 1]
    # Korean particles cling to words, so a word counts wherever it begins inside the text.
    words += [english for korean, english in KOREAN.items() if korean in lowered]
    return [SYNONYMS.get(word, (word,)) for word in dict.fromkeys(words)]
