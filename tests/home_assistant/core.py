"""Home Assistant's own core with its MQTT integration, run by its own Python: `core.py FOLDER HOST PORT OWN_PORT`.

It says in lines of JSON what its registries and states hold, whenever a line comes on stdin, until that ends. Without
frontend, recorder and the rest: what MQTT discovery makes of a document is all that is asked.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from homeassistant import bootstrap, runner
from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry, entity_registry
from homeassistant.util.ulid import ulid_now


async def _serve(hass: HomeAssistant) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(json.dumps(_picture(hass)), flush=True)


def _picture(hass: HomeAssistant) -> dict[str, Any]:
    devices = device_registry.async_get(hass).devices.values()
    entities = entity_registry.async_get(hass).entities.values()
    return {
        "devices": [
            {"name": one.name, "software": one.sw_version, "identifiers": sorted(map(list, one.identifiers))}
            for one in devices
        ],
        "entities": [
            {
                "entity_id": one.entity_id,
                "unique_id": one.unique_id,
                "name": one.original_name,
                "category": one.entity_category,
                "state": None if (state := hass.states.get(one.entity_id)) is None else state.state,
            }
            for one in entities
        ],
    }


def _mqtt(host: str, port: int) -> dict[str, Any]:
    """Give the entry that the user's dialogue with the MQTT integration ends in."""
    return {
        "entry_id": ulid_now(),
        "domain": "mqtt",
        "title": host,
        "data": {"broker": host, "port": port, "protocol": "5"},
        "options": {"discovery": True, "discovery_prefix": "homeassistant"},
        "version": 1,
        "minor_version": 2,
        "source": "user",
        "unique_id": None,
        "disabled_by": None,
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "subentries": [],
        "discovery_keys": {},
        "created_at": "2026-11-21T00:00:00+00:00",
        "modified_at": "2026-11-21T00:00:00+00:00",
    }


async def _run(folder: Path) -> int:
    config = runner.RuntimeConfig(config_dir=str(folder), skip_pip=True, safe_mode=False)
    hass = await bootstrap.async_setup_hass(config)
    if hass is None:
        return 1
    await hass.async_start()
    entries: list[ConfigEntry] = hass.config_entries.async_entries("mqtt")
    print(json.dumps({"ready": [entry.state.value for entry in entries]}), flush=True)
    await _serve(hass)
    await hass.async_stop()
    return 0


def main() -> int:
    folder, host, port, own_port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    (folder / ".storage").mkdir(parents=True, exist_ok=True)
    # No integration but these: discovery on the network of this machine is nobody's business here.
    http = f"http:\n  server_host: 127.0.0.1\n  server_port: {own_port}\n"
    (folder / "configuration.yaml").write_text(f"homeassistant:\n  name: test\n{http}")
    entries = {"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [_mqtt(host, port)]}}
    (folder / ".storage/core.config_entries").write_text(json.dumps(entries))
    return asyncio.run(_run(folder))


if __name__ == "__main__":
    sys.exit(main())
