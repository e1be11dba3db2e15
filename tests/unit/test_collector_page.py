"""docs/collector.md beside the collector itself."""

import re
from pathlib import Path

from tools.fleet.collector import tables
from tools.fleet.collector.__main__ import make_parser
from tools.fleet.collector.metrics import Metrics

PAGE = (Path(__file__).parents[2] / "docs" / "collector.md").read_text()


def test_the_page_names_every_option_and_no_other() -> None:
    known = {word for action in make_parser()._actions for word in action.option_strings if word.startswith("--")}

    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) == known - {"--help"}


def test_the_page_names_every_number_and_no_other() -> None:
    section = PAGE.partition("## Numbers and lines")[2].partition("| in the log")[0]
    named = {
        word.removeprefix("maskwatch_collector_").removesuffix("_total") for word in re.findall(r"`(\w+)`", section)
    }
    known = {metric.name.removeprefix("maskwatch_collector_") for metric in Metrics().registry.collect()}

    assert named - {"streams"} == known - {"streams"}


def test_the_page_tells_of_every_table_and_of_every_column_of_events() -> None:
    section = PAGE.partition("## What is in the database")[2].partition("Times are")[0]
    tables = set(re.findall(r"CREATE TABLE (\w+)", tables.SQLITE))
    columns = re.findall(r"^    (\w+) ", tables.SQLITE.partition(");")[0], re.MULTILINE)

    assert tables <= set(re.findall(r"`(\w+)`", section))
    assert {column for column in columns if column.islower()} <= set(re.findall(r"`(\w+)`", section))
