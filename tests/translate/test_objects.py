"""Upstream objects in the public wire's shapes: every key, every status, tools and formats there and back."""

import pytest

from app.translate.annotations import annotation_object, source_object
from app.translate.context import RunContext
from app.translate.events import Json
from app.translate.objects import content_part, message_object, page, run_object, run_status, thread_object
from app.translate.steps import run_steps
from app.translate.tools import (
    to_assistants_choice,
    to_assistants_tools,
    to_response_format,
    to_responses_choice,
    to_responses_tools,
    to_text_format,
)
from app.utils.ids import IdCodec

IDS = IdCodec()
CONTEXT = RunContext(IDS, "thread_1", "asst_1", 600)
BEGAN = 1_790_000_000
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
SCHEMA = {"name": "answer", "schema": {"type": "object"}, "strict": True}


def response(status="completed", **changes):
    return {"id": "resp_1", "created_at": BEGAN, "status": status, "output": []} | changes


class TestRuns:
    @pytest.mark.parametrize(
        ("status", "output", "expected"),
        [
            ("queued", [], "queued"),
            ("in_progress", [CALL], "in_progress"),
            ("completed", [], "completed"),
            ("completed", [CALL], "requires_action"),
            ("incomplete", [CALL], "incomplete"),
            ("failed", [], "failed"),
            ("cancelled", [], "cancelled"),
            ("something_new", [], "failed"),
            (None, [], "in_progress"),
        ],
    )
    def test_statuses(self, status, output, expected):
        assert run_status(response(status, output=output)) == expected

    def test_every_status_has_every_key(self):
        keys = run_object(response(), CONTEXT).keys()
        for status in (
            "queued",
            "in_progress",
            "requires_action",
            "cancelling",
            "cancelled",
            "failed",
            "expired",
        ):
            assert run_object(response(), CONTEXT, status=status).keys() == keys

    @pytest.mark.parametrize(
        ("upstream", "told"),
        [
            ({"code": "rate_limit_exceeded", "message": "canary"}, "rate_limit_exceeded"),
            ({"code": "invalid_prompt", "message": "canary"}, "invalid_prompt"),
            ({"code": "image_too_small", "message": "canary"}, "invalid_prompt"),
            ({"code": "insufficient_quota", "message": "canary"}, "rate_limit_exceeded"),
            ({"code": ["canary"], "message": "canary"}, "server_error"),
            ({"code": "new_code", "message": "canary"}, "server_error"),
            (None, "server_error"),
            ("canary", "server_error"),
        ],
    )
    def test_errors_are_of_three_codes_in_our_words(self, upstream, told):
        error = run_object(response("failed", error=upstream), CONTEXT)["last_error"]
        assert error["code"] == told
        assert error["message"]
        assert "canary" not in error["message"]

    @pytest.mark.parametrize(
        ("details", "reason"),
        [
            ({"reason": "max_output_tokens"}, "max_completion_tokens"),
            ({"reason": "content_filter"}, "content_filter"),
            (None, "max_completion_tokens"),
        ],
    )
    def test_incomplete_details(self, details, reason):
        run = run_object(response("incomplete", incomplete_details=details), CONTEXT)
        assert run["incomplete_details"] == {"reason": reason}

    def test_instructions_are_shown_to_whom_they_may(self):
        body = response(instructions="Be kind.")
        assert run_object(body, CONTEXT)["instructions"] == "Be kind."
        hidden = RunContext(IDS, "thread_1", "asst_1", 600, reveals_instructions=False)
        assert run_object(body, hidden)["instructions"] == ""
        assert run_object(response(instructions=[{"role": "x"}]), CONTEXT)["instructions"] == ""


class TestThreadsAndMessages:
    def test_a_thread(self):
        conversation = {"id": "conv_1", "created_at": BEGAN, "metadata": {"a": "b", "soloist_runs": "1"}}
        thread = thread_object(conversation, "thread_1")
        assert thread == {
            "id": "thread_1",
            "object": "thread",
            "created_at": BEGAN,
            "metadata": {"a": "b"},
            "tool_resources": {},
        }

    def test_a_message_without_anything_has_every_key(self):
        named: Json = {"thread_id": "thread_1", "assistant_id": "asst_1", "run_id": None, "created_at": BEGAN}
        bare = message_object({"id": "msg_1"}, IDS, **named)
        whole = message_object({"id": "msg_1", "role": "assistant", "status": "incomplete"}, IDS, **named)
        assert bare.keys() == whole.keys()
        assert (bare["role"], bare["status"], bare["content"]) == ("user", "completed", [])
        assert (whole["assistant_id"], whole["completed_at"], whole["incomplete_at"]) == (
            "asst_1",
            None,
            BEGAN,
        )

    @pytest.mark.parametrize(
        ("raw", "part"),
        [
            (
                {"type": "input_text", "text": "a"},
                {"type": "text", "text": {"value": "a", "annotations": []}},
            ),
            (
                {"type": "output_text", "text": None},
                {"type": "text", "text": {"value": "", "annotations": []}},
            ),
            ({"type": "refusal", "refusal": "no"}, {"type": "refusal", "refusal": "no"}),
            (
                {"type": "input_image", "image_url": "https://a.test/x.png"},
                {"type": "image_url", "image_url": {"url": "https://a.test/x.png", "detail": "auto"}},
            ),
            (
                {"type": "input_image", "file_id": "file-1", "detail": "low"},
                {"type": "image_file", "image_file": {"file_id": "file-1", "detail": "low"}},
            ),
            ({"type": "reasoning_text", "text": "hm"}, None),
            ("text", None),
            (None, None),
        ],
    )
    def test_content(self, raw, part):
        assert content_part(raw, IDS) == part

    def test_pages(self):
        assert page([], has_more=False)["first_id"] is None
        found = page([{"id": "a"}, {"id": "b"}], has_more=True)
        assert (found["first_id"], found["last_id"], found["has_more"]) == ("a", "b", True)


class TestAnnotations:
    def test_a_file_citation(self):
        upstream = {"type": "file_citation", "file_id": "file-1", "filename": "a.txt", "index": 5}
        annotation = annotation_object(upstream, "Hello you", IDS)
        assert annotation == {
            "type": "file_citation",
            "text": "",
            "start_index": 5,
            "end_index": 5,
            "file_citation": {"file_id": "file-1", "quote": ""},
        }
        assert source_object(annotation, upstream)["index"] == 5

    def test_a_web_citation(self):
        upstream = {
            "type": "url_citation",
            "url": "https://a.test",
            "title": "A",
            "start_index": 0,
            "end_index": 5,
        }
        annotation = annotation_object(upstream, "Hello you", IDS)
        assert annotation is not None
        assert annotation["text"] == "Hello"
        assert annotation["url_citation"] == {"url": "https://a.test", "title": "A"}

    def test_a_generated_file_carries_its_container(self):
        upstream = {
            "type": "container_file_citation",
            "file_id": "cfile_1",
            "container_id": "cntr_1",
            "filename": "chart.png",
            "start_index": 9,
            "end_index": 9,
        }
        annotation = annotation_object(upstream, "Hello you", IDS)
        assert annotation is not None
        assert annotation["file_path"]["file_id"] == IDS.file("cfile_1", "cntr_1")
        assert annotation["text"] == "sandbox:/mnt/data/chart.png"

    @pytest.mark.parametrize("index", [-5, 10_000, "x", None, 2.5])
    def test_positions_outside_the_text_are_moved_into_it(self, index):
        annotation = annotation_object(
            {"type": "file_citation", "file_id": "f", "index": index}, "Hello", IDS
        )
        assert annotation is not None
        assert 0 <= annotation["start_index"] <= annotation["end_index"] <= 5

    def test_unknown_kinds_are_left_out(self):
        assert annotation_object({"type": "new_kind"}, "Hello", IDS) is None


class TestSteps:
    def test_calls_in_a_row_are_one_step_and_messages_stand_between(self):
        said = {"type": "message", "id": "msg_1"}
        second = {**CALL, "call_id": "call_2"}
        search = {"type": "file_search_call", "id": "fs_1", "results": None}
        body = response(output=[CALL, second, said, {"type": "reasoning"}, search])
        run = run_object(body, CONTEXT)
        steps = run_steps(body, run, CONTEXT, {"call_1": "sunny"})
        assert [step["type"] for step in steps] == ["tool_calls", "message_creation", "tool_calls"]
        assert [call["id"] for call in steps[0]["step_details"]["tool_calls"]] == ["call_1", "call_2"]
        assert [call["function"]["output"] for call in steps[0]["step_details"]["tool_calls"]] == [
            "sunny",
            None,
        ]
        assert len({step["id"] for step in steps}) == 3
        assert steps[0].keys() == steps[1].keys()

    @pytest.mark.parametrize("status", ["cancelled", "failed", "expired"])
    def test_a_step_that_waited_ends_as_its_run(self, status):
        body = response(output=[CALL])
        run = run_object(body, CONTEXT, status=status)
        assert run_steps(body, run, CONTEXT, {})[0]["status"] == status


class TestTools:
    def test_functions_are_flattened_and_nested_again(self):
        nested = {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
        }
        flat = to_responses_tools([nested], {})
        assert flat == [
            {
                "type": "function",
                "name": "f",
                "description": "d",
                "parameters": {"type": "object"},
                "strict": False,
            }
        ]
        assert to_assistants_tools(flat)[0]["function"]["name"] == "f"
        bare = to_responses_tools([{"type": "function", "function": {"name": "f"}}], {})
        assert bare[0]["parameters"] == {"type": "object", "properties": {}}

    def test_hosted_tools_get_their_resources(self):
        resources = {
            "file_search": {"vector_store_ids": ["vs_1"]},
            "code_interpreter": {"file_ids": ["file-1"]},
        }
        search = {"type": "file_search", "file_search": {"max_num_results": 3}}
        tools = to_responses_tools([search, {"type": "code_interpreter"}, {"type": "web_search"}], resources)
        assert tools == [
            {"type": "file_search", "max_num_results": 3, "vector_store_ids": ["vs_1"]},
            {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}},
            {"type": "web_search"},
        ]
        assert to_assistants_tools(tools)[1] == {"type": "code_interpreter"}
        assert to_assistants_tools("x") == []

    @pytest.mark.parametrize(
        "choice", ["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]
    )
    def test_choices_there_and_back(self, choice):
        assert to_assistants_choice(to_responses_choice(choice)) == choice

    @pytest.mark.parametrize(
        "form", ["auto", {"type": "json_object"}, {"type": "json_schema", "json_schema": SCHEMA}]
    )
    def test_formats_there_and_back(self, form):
        assert to_response_format({"format": to_text_format(form)}) == form

    def test_absent_choices_and_formats_have_their_defaults(self):
        assert to_assistants_choice(None) == "auto"
        assert to_response_format(None) == to_response_format({}) == "auto"
