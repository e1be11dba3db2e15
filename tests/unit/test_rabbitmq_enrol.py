"""deploy/rabbitmq/enrol: what it tells RabbitMQ about a name, and which names it refuses. No broker is needed."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.delivery.topics import HOME_ASSISTANT_STATUS, Identity
from tests.real import need

_SHIPPED = Path(__file__).parents[2] / "deploy" / "rabbitmq"


def enrol(folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Run it beside a rabbitmqctl that only writes down what it is given; gives the result and that."""
    told = folder / "told"
    fake = folder / "rabbitmqctl"
    fake.write_text(f'#!/bin/sh\n[ "$2" = import_definitions ] && cat "$3" >{told} || echo "$@" >>{told}\n')
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        [_SHIPPED / "enrol", *words], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return done, told.read_text() if told.exists() else None


def granted(told: str, name: str, verb: str, topic: str) -> bool:
    """Judge a topic (a publication's, or a filter) as RabbitMQ does: slashes are dots, a + is a star."""
    permissions = {one["user"]: one for one in json.loads(told)["topic_permissions"]}
    pattern = permissions[name][verb].replace("{username}", name)
    return re.search(pattern, topic.replace("/", ".").replace("+", "*")) is not None


def test_a_board_may_do_what_the_agent_does_and_nothing_as_another(tmp_path: Path) -> None:
    done, told = enrol(tmp_path, "add", "cam1", "cam10", "a_b-c")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    names = ("cam1", "cam10", "a_b-c")
    for name in names:
        own = Identity(site="lab", device=name, version="1")
        for other in names:
            its = Identity(site="lab", device=other, version="1")
            for topic in (its.events, its.status, its.telemetry, its.reply, its.discovery):
                assert granted(told, name, "write", topic) is (name == other)
            for topic in (its.command, its.ack):
                assert granted(told, name, "read", topic) is (name == other)
        assert set(own.subscriptions) == {own.command, own.ack, HOME_ASSISTANT_STATUS}
        assert granted(told, name, "read", HOME_ASSISTANT_STATUS)
        assert not granted(told, name, "write", own.command)
        assert not granted(told, name, "write", own.ack)


@pytest.mark.parametrize("name", ["cam1", "collector", "collector-2", "operator", "homeassistant"])
def test_everybody_has_the_queues_of_one_client_id_and_no_password(tmp_path: Path, name: str) -> None:
    _, told = enrol(tmp_path, "add", name)
    (user,) = json.loads(told)["users"]
    assert (user["name"], user["password_hash"], user["tags"]) == (name, "", [])
    (permission,) = json.loads(told)["permissions"]
    for verb in ("configure", "write", "read"):
        for queue, own in ((f"mqtt-subscription-{name}qos1", True), (f"mqtt-subscription-{name}2qos1", False)):
            assert (re.search(permission[verb], queue) is not None) is own
    assert not re.search(permission["configure"], "amq.topic")


@pytest.mark.parametrize(
    ("name", "reads", "writes"),
    [
        ("collector", "maskwatch/+/+/events", "maskwatch/lab/cam1/ack"),
        ("collector-2", "maskwatch/+/+/status", "maskwatch/lab/cam1/ack"),
        ("operator", "maskwatch/#", "maskwatch/lab/cam1/command"),
        ("homeassistant", "homeassistant/#", "homeassistant/status"),
    ],
)
def test_a_program_has_the_rights_of_its_role(tmp_path: Path, name: str, reads: str, writes: str) -> None:
    _, told = enrol(tmp_path, "add", name)
    assert granted(told, name, "read", reads)
    assert granted(told, name, "write", writes)
    assert not granted(told, name, "write", "maskwatch/lab/cam1/events")
    assert not granted(told, name, "read", "#")


@pytest.mark.parametrize("name", ["", "cam 1", "cam.1", 'cam"1', "cam/1", "+", "#", "cam1\n", "x" * 65, "käm"])
def test_a_name_that_would_mean_more_than_itself_is_refused(tmp_path: Path, name: str) -> None:
    done, told = enrol(tmp_path, "add", "cam1", name)
    assert done.returncode == 65
    assert done.stderr.startswith("enrol: ")
    assert "1 to 64 letters, digits, _ or -" in done.stderr
    assert told is None


@pytest.mark.parametrize("words", [(), ("add",), ("forget", "cam1")])
def test_other_words_are_refused_with_what_to_say(tmp_path: Path, words: tuple[str, ...]) -> None:
    done, told = enrol(tmp_path, *words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert told is None


def test_who_is_withdrawn_is_deleted(tmp_path: Path) -> None:
    done, told = enrol(tmp_path, "remove", "cam1", "cam2")
    assert done.returncode == 0
    assert told == "-q delete_user cam1\n-q delete_user cam2\n"


def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run(
        [need("shellcheck", "shellcheck"), _SHIPPED / "enrol"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
