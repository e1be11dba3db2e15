"""`maskwatch check`: is everything here ready? One line each for board, camera, models, broker and clock."""

import argparse
import os
import platform
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from agent import __version__
from agent.camera import open_camera
from agent.cli.listener import Listener, spawn
from agent.cli.options import add_config_options, load_settings
from agent.cli.terminal import STYLES, console
from agent.clock import NS_PER_MS, NS_PER_S, Clock, SystemClock
from agent.delivery.mqtt import MqttLink
from agent.delivery.topics import Identity
from agent.errors import MaskwatchError, NotPermittedError, StorageError, UnavailableError
from agent.events.envelope import timestamp
from agent.seams import End, Frame, Silence
from agent.service.health import read_health
from agent.service.notice import notice_file, read_notice
from agent.settings import CameraSettings, MqttSettings, OutboxSettings, Settings, VisionSettings
from agent.vision.nets import load_classifier, load_detector

_CAMERA_S = 10.0
_BROKER_S = 10.0
_ACCELERATOR_S = 15.0  # where one is plugged in: on a slow board some seconds
_STEP_S = 0.25
_BOARD = Path("/proc/device-tree/model")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What one check came to. exit_code: 0, or the one that this failure has everywhere."""

    name: str
    verdict: Literal["ok", "note", "FAIL"]
    text: str
    exit_code: int = 0


def add_parser(subparsers: Any) -> None:
    """Add the command's options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check",
        help="is everything here ready: board, camera, models, broker, clock",
        description="Check board, camera, models, broker and clock; the exit code is that of the first failure.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--wait",
        type=float,
        metavar="S",
        help="the agent is running here: wait up to S seconds until its first event is acknowledged",
    )
    what.add_argument("--aim", action="store_true", help="while mounting: live words about what the camera sees")
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Check, or help to aim."""
    settings = load_settings(args).settings
    clock = SystemClock()
    if args.aim:
        from agent.cli.aim import aim  # here: the other checks need no pipeline

        return aim(settings, clock)
    code = 0
    for line in checks(settings, clock, wait_s=args.wait):
        out = console(sys.stderr if line.verdict == "FAIL" else sys.stdout)
        out.print(f"{line.name:<8}", end="")
        style = {"ok": "good", "note": "unsure", "FAIL": "bad"}[line.verdict]
        out.print(f"{line.verdict:<6}", style=STYLES[style], end="")
        out.print(line.text, soft_wrap=True)
        out.file.flush()  # two streams, one order
        code = code or line.exit_code
    return code


def checks(settings: Settings, clock: Clock, *, wait_s: float | None) -> Iterator[Line]:
    """Give the lines one by one, as they are known. wait_s: an agent is running, and has camera and connection."""
    yield _line("board", lambda: _board(settings.outbox, settings.mqtt, clock))
    if wait_s is None:
        yield _line("camera", lambda: _camera(settings.camera, clock))
    yield _line("models", lambda: _models(settings.vision, clock))
    if wait_s is None:
        yield _line("broker", lambda: _broker(settings, clock))
    else:
        yield _line("agent", lambda: _agent(settings, clock, wait_s))
    trusted = clock.trusted()
    text = timestamp(clock.wall_ns()) if trusted else "not set by the network: events carry no time until it is"
    yield Line(name="clock", verdict="ok" if trusted else "note", text=text)


def _line(name: str, check: Callable[[], str]) -> Line:
    try:
        return Line(name=name, verdict="ok", text=check())
    except MaskwatchError as error:
        return Line(name=name, verdict="FAIL", text=str(error), exit_code=error.exit_code)


def _board(outbox: OutboxSettings, mqtt: MqttSettings, clock: Clock) -> str:
    directory = Path(outbox.directory)
    there = next(place for place in (directory, *directory.absolute().parents) if place.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise NotPermittedError(
            "no permission to write", where=outbox.directory, remedy="give it to the user that runs maskwatch (chown)"
        )
    health = read_health(there, mqtt.cert_file, clock)
    if health.disk_free_mb < outbox.quota_mb:
        raise StorageError(
            f"{health.disk_free_mb:.0f} MB are free, outbox.quota_mb is {outbox.quota_mb:g}",
            where=outbox.directory,
            remedy="make room, or lower outbox.quota_mb",
        )
    facts = [_model_name(), f"{health.disk_free_mb / 1000:.1f} GB free for the outbox"]
    if health.temperature_c is not None:
        facts.append(f"{health.temperature_c:.0f} °C")
    if health.throttled:
        facts.append("THROTTLED: too hot, or too little voltage")
    if health.certificate_days is not None:
        facts.append(f"certificate good for {health.certificate_days:.0f} days")
    return ", ".join(facts)


def _model_name() -> str:
    try:
        return _BOARD.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return f"{platform.machine()}, Linux {platform.release()}"


def _camera(settings: CameraSettings, clock: Clock) -> str:
    start_ns = clock.now_ns()
    with open_camera(settings, clock) as camera:
        why = "no frame"
        while (waited_s := (clock.now_ns() - start_ns) / NS_PER_S) < _CAMERA_S:
            match camera.read(2.0):
                case Frame(pixels=pixels):
                    height, width = pixels.shape[:2]
                    spent_ms = (clock.now_ns() - start_ns) / NS_PER_MS
                    return f"{camera.describe()}: a frame of {width}x{height} after {spent_ms:.0f} ms"
                case Silence(why=said):
                    why = said
                case End(damage=damage):
                    raise damage or UnavailableError(
                        "has no frame", where=camera.describe(), remedy="name one that has"
                    )
        raise UnavailableError(
            f"{why} within {waited_s:.0f} s", where=settings.source.split("?")[0], remedy="check cable and address"
        )


def _models(settings: VisionSettings, clock: Clock) -> str:
    notice = read_notice(os.environ, clock.now_ns())
    # One process has an Edge TPU to itself: the agent that runs here keeps it, and is asked.
    detector = load_detector(settings.detector, settings.accelerator if notice is None else "cpu", clock)
    try:
        classifier = load_classifier(settings.classifier, settings.accelerator)
        names = f"{detector.net.manifest.name}, {classifier.net.manifest.name}"
        detector.settle(_ACCELERATOR_S)
        told = notice or {"accelerator": detector.accelerator, "accelerator_why": detector.why}
        return f"{names}: golden answers match; on {told.get('accelerator')} ({told.get('accelerator_why')})"
    finally:
        detector.close()


def _broker(settings: Settings, clock: Clock) -> str:
    notice = read_notice(os.environ, clock.now_ns())
    if notice is not None:  # a board has one connection, and the agent's is worth more than this line
        if notice.get("connected"):
            return f"{settings.mqtt.url}: the agent that runs here is connected"
        raise UnavailableError(
            notice.get("broker") or "not connected", where="the agent that runs here", remedy="journalctl -u maskwatch"
        )
    start_ns = clock.now_ns()
    identity = Identity(site=settings.device.site, device=settings.device.id, version=__version__)
    link = MqttLink(settings.mqtt, client_id=identity.device, spawn=spawn)
    with Listener(
        link, where=settings.mqtt.url, topics=[identity.command], clock=clock, rng=random.Random()
    ) as listener:
        _connect(listener, settings.mqtt.url, clock)
        spent_ms = (clock.now_ns() - start_ns) / NS_PER_MS
        security = " (NOT VERIFIED: mqtt.insecure is set)" if settings.mqtt.insecure else ""
        return f"{settings.mqtt.url}: {listener.state} after {spent_ms:.0f} ms{security}"


def _agent(settings: Settings, clock: Clock, wait_s: float) -> str:
    """Look at the running agent's notice until it says that an event has arrived."""
    end_ns = clock.now_ns() + round(wait_s * NS_PER_S)
    found: dict[str, Any] = {}
    while clock.now_ns() < end_ns:
        found = read_notice(os.environ, clock.now_ns()) or found
        if found.get("acknowledged", 0) >= 1:
            return f"{found['acknowledged']} events acknowledged, camera {found['camera']}"
        clock.sleep(_STEP_S)
    if not found:
        raise UnavailableError(
            f"no agent says there within {wait_s:g} s how it is",
            where=str(notice_file(os.environ)),
            remedy="systemctl status maskwatch",
        )
    why = found.get("broker") or "connected"
    raise UnavailableError(
        f"no event acknowledged within {wait_s:g} s, {found.get('backlog', 0)} waiting, {why}",
        where=settings.mqtt.url,
        remedy="journalctl -u maskwatch",
    )


def _connect(listener: Listener, url: str, clock: Clock) -> None:
    """Wait for the connection. Raises UnavailableError, saying which of a broker's refusals it is."""
    end_ns = clock.now_ns() + round(_BROKER_S * NS_PER_S)
    while not listener.connected:
        listener.step(_STEP_S)
        if clock.now_ns() > end_ns:
            raise UnavailableError(f"no answer within {_BROKER_S:.0f} s", where=url, remedy="check address and network")
