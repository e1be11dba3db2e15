"""JSON Schema (2020-12) of every message, made from the types: nobody writes the contract twice."""

from typing import Any

import msgspec

from agent.events.envelope import Envelope, schema_name
from agent.events.state import Ack, Command, Reply, Status, Telemetry
from agent.events.types import TYPES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
STATES: dict[str, type[Any]] = {
    "status": Status,
    "telemetry": Telemetry,
    "command": Command,
    "reply": Reply,
    "ack": Ack,
}


def event_schemas() -> dict[str, dict[str, Any]]:
    """Give a schema of the whole message, envelope and data, for each event type, keyed by the type."""
    shape: Any = Envelope
    schemas = {}
    for name, kind in TYPES.items():
        schema = _flat(shape[kind], title=name, identity=schema_name(name))
        schema["properties"]["type"] = {"const": name}
        schema["properties"]["dataschema"] = {"const": schema_name(name)}
        schema["description"] = kind.__doc__
        schemas[name] = schema
    return schemas


def state_schemas() -> dict[str, dict[str, Any]]:
    """Give a schema for each of the other messages, keyed by the last part of its topic."""
    return {name: _flat(kind, title=name, identity=f"urn:maskwatch:schema:{name}:v1") for name, kind in STATES.items()}


def _flat(kind: Any, *, title: str, identity: str) -> dict[str, Any]:
    """Give the schema with its outermost object in the open instead of behind a $ref: generators read that best."""
    made = msgspec.json.schema(kind)
    definitions = made["$defs"]
    top = definitions.pop(made["$ref"].rsplit("/", 1)[1])
    top["title"] = title
    schema = {"$schema": DIALECT, "$id": identity, **top}
    if definitions:
        schema["$defs"] = definitions
    return schema
