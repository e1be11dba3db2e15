"""Every setting there is: its default, its bounds and one sentence. Spans are seconds; sections go to their rooms.

Read once at the start by agent.config, frozen from then on. Numbers that belong to a model are in its manifest.
"""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

# A name is a level of a topic, an access list's %u, part of RabbitMQ's regular expressions (where a slash and a dot are
# one) and a certificate's common name (64 characters, RFC 5280): what is safe in all of them is what may be used.
_NAME = r"[A-Za-z0-9_-]{1,64}"
ROLES = ("collector", "operator", "homeassistant")
"""Users of the broker that are no boards; a board of such a name would have their rights."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class DeviceSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this board is; both names are parts of its topics, the second is also its MQTT client id."""

    site: Annotated[
        str,
        Meta(
            description="the place; boards of one site share a topic prefix",
            extra_json_schema={"pattern": f"^{_NAME}$"},
        ),
    ] = "default"
    id: Annotated[
        str,
        Meta(
            description="the board, unlike any other in the fleet, as its certificate names it; empty: made from its "
            "serial or machine id",
            extra_json_schema={"pattern": f"^({_NAME})?$"},
        ),
    ] = ""

    def __post_init__(self) -> None:
        for key, name in (("site", self.site), ("id", self.id or "made")):
            if not re.fullmatch(_NAME, name):
                raise ValueError(f"{key} = {name!r} is not 1 to 64 letters, digits, _ or -")
        if self.id in ROLES:
            raise ValueError(f"id = {self.id!r} is the broker's name for another role; name this board otherwise")


class CameraSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where pictures come from."""

    source: Annotated[
        str,
        Meta(
            min_length=1,
            description="picamera2, picamera2:1, v4l2:/dev/video0, rtsp://..., http://..., a file, a folder, scene",
        ),
    ] = "picamera2"
    width: Annotated[int, Meta(ge=160, le=3840, description="asked of cameras that can choose")] = 640
    height: Annotated[int, Meta(ge=120, le=2160, description="asked of cameras that can choose")] = 480
    fps: Annotated[float, Meta(gt=0, le=120, description="asked of cameras that can choose; a folder's pace")] = 15.0
    rotate: Annotated[Literal[0, 90, 180, 270], Meta(description="degrees clockwise, before anything else")] = 0
    loop: Annotated[bool, Meta(description="files, folders and scenes begin again at their end")] = False
    blind_after_s: Annotated[
        float, Meta(ge=1, le=3600, description="no, black, flat, frozen or covered frames for this long: blind")
    ] = 10.0


class VisionSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How faces are found and looked at."""

    classifier: Annotated[str, Meta(min_length=1, description="a model in models/, or a manifest's path")] = "mask-64"
    detector: Annotated[str, Meta(min_length=1, description="a model in models/, or a manifest's path")] = "face-320"
    accelerator: Annotated[
        Literal["auto", "cpu", "edgetpu"], Meta(description="auto: the Edge TPU where one works, else the CPU")
    ] = "auto"
    min_face_px: Annotated[int, Meta(ge=8, le=512, description="smaller faces are not followed")] = 16
    detect_every: Annotated[
        int, Meta(ge=1, le=30, description="while something moves, find faces in every n-th frame")
    ] = 2
    recheck_s: Annotated[
        float, Meta(gt=0, le=3600, description="look for faces at least this often, even if nothing moves")
    ] = 2.0
    region: Annotated[
        tuple[float, float, float, float],
        Meta(description="the part of the frame that counts: x0, y0, x1, y1 as parts of it, 0..1"),
    ] = (0.0, 0.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.region
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise ValueError(f"region = {list(self.region)} is not x0 < x1 and y0 < y1 within 0..1")


class DecisionSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When looks at a person become a label, and when the label may change."""

    decide_within_s: Annotated[float, Meta(gt=0, le=60, description="without a decision by then: unsure")] = 3.0
    forget_after_s: Annotated[float, Meta(gt=0, le=60, description="unseen for this long: gone")] = 2.0
    min_looks: Annotated[int, Meta(ge=1, le=100, description="looks needed before any label")] = 4
    enter: Annotated[float, Meta(gt=0, lt=1, description="mean probability that makes a label")] = 0.80
    leave: Annotated[float, Meta(gt=0, lt=1, description="mean probability that unmakes it")] = 0.65

    def __post_init__(self) -> None:
        if self.leave >= self.enter:
            raise ValueError(f"leave = {self.leave} is not below enter = {self.enter}: hysteresis needs a gap")


class MqttSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker, and how to be sure that it is the right one."""

    url: Annotated[str, Meta(pattern=r"^mqtts?://", description="mqtts://host[:8883], or mqtt://localhost[:1883]")] = (
        "mqtt://localhost:1883"
    )
    ca_file: Annotated[str, Meta(description="PEM; empty: the system's trust store")] = ""
    cert_file: Annotated[str, Meta(description="PEM of this device's certificate; empty: none")] = ""
    key_file: Annotated[str, Meta(description="PEM of its key; systemd credentials work")] = ""
    username: Annotated[str, Meta(description="empty: none, or the certificate says who we are")] = ""
    password_file: Annotated[str, Meta(description="its first line is the password; systemd credentials work")] = ""
    protocol: Annotated[
        Literal["auto", "5", "3.1.1"], Meta(description="auto: MQTT 5, and 3.1.1 where that is refused")
    ] = "auto"
    keepalive_s: Annotated[int, Meta(ge=5, le=3600, description="silence after which the broker says we are gone")] = 60
    ack_mode: Annotated[
        Literal["puback", "collector"],
        Meta(description="an event is done when the broker took it, or when the collector has stored it"),
    ] = "puback"
    plaintext: Annotated[bool, Meta(description="allow mqtt:// beyond this machine")] = False
    insecure: Annotated[bool, Meta(description="do not verify the broker's certificate; every status says so")] = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if not parts.hostname:
            raise ValueError(f"url = {self.url!r} names no host")
        try:
            _ = parts.port  # reading it is what checks it
        except ValueError as error:
            raise ValueError(f"url = {self.url!r}: {error}") from error
        if parts.username or parts.password:
            raise ValueError("url holds a user or password; use username and password_file")
        if parts.scheme == "mqtt" and parts.hostname not in _LOOPBACK and not self.plaintext:
            raise ValueError(f"url = {self.url!r} is not encrypted; use mqtts://, or set plaintext = true to allow it")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together; one is missing")

    @property
    def tls(self) -> bool:
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (8883 if self.tls else 1883)


class OutboxSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where events wait until they are acknowledged."""

    directory: Annotated[str, Meta(min_length=1, description="on a disk that survives a power cut")] = (
        "/var/lib/maskwatch"
    )
    quota_mb: Annotated[float, Meta(ge=1, le=100_000, description="beyond it the oldest go, named in a gap")] = 64.0


class ReportSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said about the scene as a whole and about the board."""

    counts_every_s: Annotated[
        float, Meta(ge=1, le=86_400, description="while persons are present or things change")
    ] = 60.0
    counts_idle_every_s: Annotated[float, Meta(ge=1, le=86_400, description="while nothing happens")] = 3600.0
    telemetry_every_s: Annotated[float, Meta(ge=1, le=86_400, description="how the board itself is doing")] = 60.0
    discovery: Annotated[bool, Meta(description="tell Home Assistant about this device")] = True

    def __post_init__(self) -> None:
        if self.counts_idle_every_s < self.counts_every_s:
            raise ValueError(
                f"counts_idle_every_s = {self.counts_idle_every_s} is below counts_every_s = {self.counts_every_s}"
            )


class Settings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole tree; code gets its own section, never this."""

    device: DeviceSettings = DeviceSettings()
    camera: CameraSettings = CameraSettings()
    vision: VisionSettings = VisionSettings()
    decision: DecisionSettings = DecisionSettings()
    mqtt: MqttSettings = MqttSettings()
    outbox: OutboxSettings = OutboxSettings()
    report: ReportSettings = ReportSettings()
