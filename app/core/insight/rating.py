"""What a user said of an answer."""

from dataclasses import dataclass

from app.translate.events import Json
from app.utils.ids import IdCodec


@dataclass(frozen=True, slots=True)
class Rating:
    """What an owner said of an answer; all ids are upstream ids.

    `target` is a message's item if `is_message`, else the first response of a run without one. `run_id` is
    the first response of the run that wrote the answer, None if that is not known.
    """

    conversation_id: str
    target: str
    owner: str
    is_message: bool
    run_id: str | None
    value: str
    comment: str | None
    created_at: int

    def public(self, ids: IdCodec) -> Json:
        """Return the public object, with the ids of its owner."""
        return {
            "object": "feedback",
            "thread_id": ids.thread(self.conversation_id),
            "message_id": ids.message(self.target) if self.is_message else None,
            "run_id": ids.run(self.run_id) if self.run_id else None,
            "value": self.value,
            "comment": self.comment,
            "created_at": self.created_at,
        }
