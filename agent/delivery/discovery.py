"""What Home Assistant is told: one document for the device, from which it makes its entities.

Source: Home Assistant, MQTT integration, device discovery (2024.12 and later), abbreviated keys. A unique_id never
changes, whatever the entity is called; values come from topics that exist without Home Assistant.
"""

from typing import Any

import msgspec

from agent.delivery.link import Message
from agent.delivery.topics import Identity
from agent.events.types import Counts, PersonEnd, PersonNew, PersonUpdate

_LABELS = {"mask": "With mask", "no_mask": "Without mask", "incorrect": "Mask worn wrongly", "unsure": "Unsure"}


def document(identity: Identity, *, wanted: bool) -> Message:
    """Make the retained document; when it is not wanted, the empty one, which removes the device there."""
    payload = msgspec.json.encode(_document(identity)) if wanted else b""
    return Message(topic=identity.discovery, payload=payload, qos=1, retain=True)


def _document(identity: Identity) -> dict[str, Any]:
    name = f"maskwatch {identity.device}"
    return {
        "dev": {"ids": f"maskwatch_{identity.site}_{identity.device}", "name": name, "sw": identity.version},
        "o": {"name": "maskwatch", "sw": identity.version},
        "cmps": {f"maskwatch_{key}": _component(identity, key, entity) for key, entity in _entities(identity).items()},
    }


def _component(identity: Identity, key: str, entity: dict[str, Any]) -> dict[str, Any]:
    common: dict[str, Any] = {"uniq_id": f"maskwatch_{identity.site}_{identity.device}_{key}"}
    if key != "online":  # which says itself whether the device is there
        common |= {
            "avty_t": identity.status,
            "avty_tpl": "{{ value_json.state }}",
            "pl_avail": "online",
            "pl_not_avail": "offline",
        }
    return common | entity


def _entities(identity: Identity) -> dict[str, dict[str, Any]]:
    people = [kind.TYPE for kind in (PersonNew, PersonUpdate, PersonEnd)]
    counted = {
        f"ended_{label}": {
            "p": "sensor",
            "name": name,
            "ic": "mdi:face-mask-outline",
            "stat_t": identity.events,
            "val_tpl": _of_event([Counts.TYPE], f"value_json.data.ended.{label}"),
        }
        for label, name in _LABELS.items()
    }
    return counted | {
        "present": {
            "p": "sensor",
            "name": "Persons present",
            "stat_t": identity.telemetry,
            "stat_cla": "measurement",
            "val_tpl": "{{ value_json.persons }}",
        },
        "label": {
            "p": "sensor",
            "name": "Last label",
            "stat_t": identity.events,
            "val_tpl": _of_event(people, "value_json.data.label"),
        },
        "online": {
            "p": "binary_sensor",
            "name": "Status",
            "dev_cla": "connectivity",
            "stat_t": identity.status,
            "val_tpl": "{{ value_json.state }}",
            "pl_on": "online",
            "pl_off": "offline",
        },
        "camera": {
            "p": "sensor",
            "name": "Camera",
            "ent_cat": "diagnostic",
            "stat_t": identity.telemetry,
            "val_tpl": "{{ value_json.camera }}",
        },
        "temperature": {
            "p": "sensor",
            "name": "Temperature",
            "dev_cla": "temperature",
            "ent_cat": "diagnostic",
            "unit_of_meas": "°C",
            "stat_t": identity.telemetry,
            "val_tpl": "{{ value_json.temperature_c | default(None) }}",
        },
    }


def _of_event(types: list[str], value: str) -> str:
    """Make a template that takes its value from some types of event and keeps the old state at all others."""
    return f"{{{{ {value} if value_json.type in {types} else this.state }}}}"
