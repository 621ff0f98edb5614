"""Compares all that the service sends with the typed models of the installed openai-python."""

import sys
from pathlib import Path

import openai
from report import base_url, run

sys.path.append(str(Path(__file__).resolve().parents[1]))

import capture
import typed

api = capture.Api(base_url())


def typed_objects():
    """Compare every kind of object."""
    found = (typed.object_faults(kind, value) for kind, value in capture.objects(api) if kind != "page")
    _none({fault for faults in found for fault in faults})


def typed_events():
    """Compare every event, and every first delta."""
    _none({fault for _, events in capture.streams(api) for fault in typed.stream_faults(events)})


def _none(faults):
    if faults:
        raise AssertionError("; ".join(sorted(faults)))


run(openai.__version__, typed_objects, typed_events)
