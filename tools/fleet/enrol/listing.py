"""The inventory on a screen: devices, claims that are not used, and what should not have happened."""

from collections.abc import Iterator
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from tools.fleet.ca.store import Listed
from tools.fleet.enrol.inventory import Device, Inventory
from tools.fleet.enrol.renewal import is_due

_DAY = "%Y-%m-%d"


def tables(inventory: Inventory, listed: list[Listed], now: datetime) -> Iterator[Table]:
    """Give the tables that have anything in them. listed: what the authority says of each name."""
    states = {item.entry.name: item.state for item in listed}
    if inventory.devices:
        columns = ("device", "site", "serial", "model", "claim", "enrolled", "certificate", "ends", "state")
        devices = _table("Devices", columns)
        for device in sorted(inventory.devices, key=lambda device: (device.site, device.device)):
            state = _state(device, states.get(device.device, "revoked"), now)
            row = (device.device, device.site, device.serial, device.model, device.claim or "by hand")
            dates = (f"{device.enrolled:{_DAY}}", device.certificate[:8], f"{device.ends:{_DAY}}", state)
            devices.add_row(*map(escape, (*row, *dates)), style=_STYLES.get(state, "yellow"))
        yield devices
    unused = [claim for claim in inventory.claims if claim.used is None]
    if unused:
        claims = _table("Claims that nobody has used", ("claim", "site", "for board", "made", "ends", "state"))
        for claim in sorted(unused, key=lambda claim: claim.expires):
            state = claim.state(now)
            cells = (
                claim.id,
                claim.site,
                claim.serial or "any",
                f"{claim.made:{_DAY}}",
                f"{claim.expires:{_DAY}}",
                state,
            )
            claims.add_row(*cells, style=_STYLES.get(state, ""))
        yield claims
    if inventory.incidents:
        columns = ("error", "device", "key", "claim", "serial", "from", "first", "last", "times")
        incidents = _table("What should not have happened", columns)
        for incident in sorted(inventory.incidents, key=lambda incident: incident.last):
            what = (incident.error, incident.device, incident.key[:8], incident.claim, incident.serial, incident.peer)
            when = (f"{incident.first:{_DAY} %H:%M}", f"{incident.last:{_DAY} %H:%M}", str(incident.count))
            incidents.add_row(*map(escape, (*what, *when)))
        yield incidents


_STYLES = {"good": "", "open": "", "revoked": "red", "expired": "red", "void": "dim"}


def _state(device: Device, state: str, now: datetime) -> str:
    if state == "revoked":
        return state
    if device.ends <= now:
        return "expired"
    if not is_due(device, now):
        return "good"
    return "renewal sent" if device.pending else "renewal due"


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
