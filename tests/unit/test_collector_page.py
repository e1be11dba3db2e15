"""docs/collector.md beside the collector itself."""

import argparse
import re
from pathlib import Path

from tools.fleet.collector import tables
from tools.fleet.collector.__main__ import make_parser
from tools.fleet.collector.metrics import Metrics
from tools.fleet.page import app
from tools.fleet.page.__main__ import make_parser as user_parser
from tools.fleet.page.health import LEVELS

PAGE = (Path(__file__).parents[2] / "docs" / "collector.md").read_text()


def test_the_page_names_every_option_and_no_other() -> None:
    actions = [*make_parser()._actions, *_user_actions()]
    known = {word for action in actions for word in action.option_strings if word.startswith("--")}

    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) == known - {"--help"}


def _user_actions() -> list[argparse.Action]:
    """Give the options of the command that makes users of the fleet page."""
    (commands,) = [one for one in user_parser()._actions if isinstance(one, argparse._SubParsersAction)]
    return [action for parser in commands.choices.values() for action in parser._actions]


def test_the_page_tells_of_every_address_of_the_fleet_page_and_no_other() -> None:
    section = PAGE.partition("| page | shows |")[2].partition("\n\n")[0]
    source = (Path(app.__file__)).read_text()
    known = set(re.findall(r'Route\("(/[^"]*)", private', source))

    assert {path.replace("NAME", "{device}") for path in re.findall(r"`(/[^`]*)`", section)} == known


def test_the_page_tells_of_every_state() -> None:
    section = PAGE.partition("| state | a device is it when |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| ([a-z, ]+) \|", section, re.MULTILINE)

    assert [word for words in named for word in words.split(", ")] == list(LEVELS)


def test_the_page_names_every_number_and_no_other() -> None:
    section = PAGE.partition("## Numbers and lines")[2].partition("| in the log")[0]
    named = {
        word.removeprefix("maskwatch_collector_").removesuffix("_total") for word in re.findall(r"`(\w+)`", section)
    }
    known = {metric.name.removeprefix("maskwatch_collector_") for metric in Metrics().registry.collect()}

    assert named - {"streams"} == known - {"streams"}


def test_the_page_tells_of_every_table_and_of_every_column_of_events() -> None:
    section = PAGE.partition("## What is in the database")[2].partition("Times are")[0]
    made = set(re.findall(r"CREATE TABLE (\w+)", tables.SQLITE))
    columns = re.findall(r"^    (\w+) ", tables.SQLITE.partition(");")[0], re.MULTILINE)

    assert made <= set(re.findall(r"`(\w+)`", section))
    assert {column for column in columns if column.islower()} <= set(re.findall(r"`(\w+)`", section))
