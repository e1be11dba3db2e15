"""Commands from outside: only whole and valid ones come in, and answers go nowhere but below our own `reply`."""

from typing import Any

import msgspec
from msgspec import UNSET

from agent.delivery.link import Message, Received
from agent.delivery.topics import Identity
from agent.events.envelope import MESSAGE_BYTES_MAX
from agent.events.state import Command, Reply

_CONTENT_TYPE = "application/json"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A valid command from somebody, and where its answer goes."""

    command: Command
    reply_topic: str
    correlation: bytes | None = None


class Invalid(msgspec.Struct, frozen=True, kw_only=True):
    """A command that cannot be done, and the answer that says why."""

    answer: Message


def parse(received: Received, identity: Identity) -> Request | Invalid:
    """Read a command. Who may send one is the broker's access list; what it may make us do is ours.

    A retained one is refused: it would come again with every connection, and a restart would never end.
    """
    where = received.response_topic
    try:
        if received.retained:
            raise msgspec.ValidationError("a retained command is not done; send it without retain")
        if len(received.payload) > MESSAGE_BYTES_MAX:
            raise msgspec.ValidationError(f"longer than {MESSAGE_BYTES_MAX} bytes")
        command = msgspec.json.decode(received.payload, type=Command)
        if where is None and command.reply_to is not UNSET:
            where = command.reply_to
        if where is not None and not _is_ours(where, identity):
            raise msgspec.ValidationError(f"answers go to {identity.reply} or below, nowhere else")
    except msgspec.DecodeError as error:  # of which ValidationError is one
        reply = Reply(command="", ok=False, message=str(error)[:200])
        return Invalid(answer=_message(reply, identity.reply, received.correlation))
    return Request(command=command, reply_topic=where or identity.reply, correlation=received.correlation)


def answer(request: Request, *, ok: bool, message: str, result: dict[str, Any]) -> Message:
    """Make the answer to a command; a result that would not fit a message is left out, and that is said."""
    command = request.command
    reply = Reply(command=command.command, id=command.id, ok=ok, message=message[:200], result=result)
    made = _message(reply, request.reply_topic, request.correlation)
    if len(made.payload) <= MESSAGE_BYTES_MAX:
        return made
    short = msgspec.structs.replace(reply, result={}, message="the result does not fit a message")
    return _message(short, request.reply_topic, request.correlation)


def _is_ours(topic: str, identity: Identity) -> bool:
    if any(letter in topic for letter in "+#\0"):
        return False
    return topic == identity.reply or topic.startswith(identity.reply + "/")


def _message(reply: Reply, topic: str, correlation: bytes | None) -> Message:
    return Message(
        topic=topic,
        payload=msgspec.json.encode(reply),
        qos=1,
        content_type=_CONTENT_TYPE,
        correlation=correlation,
    )
