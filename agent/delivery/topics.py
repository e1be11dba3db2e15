"""The names of all topics of a device."""

import msgspec

HOME_ASSISTANT_STATUS = "homeassistant/status"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who is talking: site and device make the topics."""

    site: str
    device: str
    version: str

    @property
    def source(self) -> str:
        """The CloudEvents source, `/maskwatch/<site>/<device>`."""
        return f"/maskwatch/{self.site}/{self.device}"

    @property
    def prefix(self) -> str:
        return f"maskwatch/{self.site}/{self.device}/"

    @property
    def events(self) -> str:
        return self.prefix + "events"

    @property
    def status(self) -> str:
        return self.prefix + "status"

    @property
    def telemetry(self) -> str:
        return self.prefix + "telemetry"

    @property
    def command(self) -> str:
        return self.prefix + "command"

    @property
    def reply(self) -> str:
        return self.prefix + "reply"

    @property
    def ack(self) -> str:
        return self.prefix + "ack"

    @property
    def discovery(self) -> str:
        return f"homeassistant/device/{self.device}/config"

    @property
    def subscriptions(self) -> tuple[str, ...]:
        return (self.command, self.ack, HOME_ASSISTANT_STATUS)
