"""What `maskwatch config` prints can be read back."""

import json
import os
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from agent.cli import config
from agent.cli.main import main
from agent.config import load
from agent.settings import Settings


def _load(text: str, folder: Path) -> Any:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ={}, machine=lambda: "board-1")


def test_the_example_as_it_stands_changes_nothing(tmp_path: Path) -> None:
    loaded = _load("\n".join(config.example()), tmp_path)
    assert loaded.settings == load(None, environ={}, machine=lambda: "board-1").settings
    assert set(loaded.sources.values()) <= {"default", "machine"}


def test_the_example_with_its_keys_made_active_gives_the_defaults(tmp_path: Path) -> None:
    lines = [re.sub(r"^#(\w+ = )", r"\1", line) for line in config.example()]
    loaded = _load("\n".join(lines), tmp_path)
    assert msgspec.structs.replace(loaded.settings, device=Settings().device) == Settings()
    named = {key for key, source in loaded.sources.items() if source.endswith("config.toml")}
    assert named | {"device.id"} == set(loaded.sources)


def test_the_example_explains_every_key() -> None:
    lines = list(config.example())
    silent = [line for above, line in pairwise(lines) if re.match(r"#\w+ = ", line) and " = " in above]
    assert silent == []


def test_the_effective_configuration_reads_back_as_itself(tmp_path: Path) -> None:
    loaded = load(
        None, environ={"MASKWATCH_CAMERA_FPS": "7.5"}, overrides=["device.site=lobby", "vision.region=[0, 0, 0.5, 1]"]
    )
    text = "\n".join(config.effective(loaded))
    assert _load(text, tmp_path).settings == loaded.settings
    assert "fps = 7.5" in text
    assert "# environment variable MASKWATCH_CAMERA_FPS" in text
    assert re.search(r'site = "lobby" +# --set device.site=lobby', text)


def test_the_schema_takes_the_defaults_and_refuses_a_typo() -> None:
    schema = config.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(msgspec.json.encode(Settings())), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"camera": {"sorce": "scene"}}, schema)


def test_the_command_prints_each_of_the_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("MASKWATCH_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "config.toml"
    file.write_text('[camera]\nsource = "scene"\n')
    assert main(["config", "--config", str(file)]) == 0
    printed = capsys.readouterr().out
    assert tomllib.loads(printed)["camera"]["source"] == "scene"
    assert f"# from {file}" in printed
    assert main(["config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$defs"]
    assert main(["config", "--example"]) == 0
    assert "[report]" in capsys.readouterr().out
