"""`maskwatch inspect`: what the agent says of pictures, clips and folders, as JSON lines or a table."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from agent import __version__
from agent.cli.examine import Examiner
from agent.cli.findings import Finding, to_json, to_rows
from agent.cli.inputs import count_inputs, find_inputs
from agent.cli.options import add_config_options, load_settings
from agent.cli.promise import Promise
from agent.cli.report import check_place, page, write
from agent.cli.story import Portraits, Story
from agent.cli.terminal import STYLES, console, some, verdicts
from agent.clock import NS_PER_S, SystemClock
from agent.errors import InputError, MaskwatchError, NotPermittedError, UsageError
from agent.vision.detector import FaceDetector
from agent.vision.nets import load_classifier, load_detector, load_other_sizes


def add_parser(subparsers: Any) -> None:
    """Add the command's options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "inspect",
        help="pictures, clips or folders: what the agent would say of each face",
        description="Say of each face in pictures, or of each person in clips, what the agent would: JSON lines, or a "
        "table in a terminal.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a picture, clip or folder; - reads paths from stdin")
    parser.add_argument("--crops", action="store_true", help="each picture is one tight face crop")
    parser.add_argument(
        "--single-pass", action="store_true", help="find faces in the whole picture once, as in a frame"
    )
    parser.add_argument("--annotate", type=Path, metavar="DIR", help="write copies with boxes and labels there")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write all of it as one HTML file as well")
    parser.add_argument("--with-crops", action="store_true", help="put pictures of the faces into the report")
    parser.add_argument("--json", action="store_true", help="JSON lines even in a terminal")
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Inspect everything; 65 if something could not be read."""
    settings = load_settings(args).settings
    if args.with_crops and args.report is None:
        raise UsageError("there is no report for the pictures", where="--with-crops", remedy="add --report FILE")
    if args.report is not None:
        check_place(args.report)
    clock = SystemClock()
    story, portraits = Story(), Portraits() if args.with_crops else None
    with ExitStack() as stack:
        classifier = load_classifier(settings.vision.classifier, settings.vision.accelerator)
        stack.callback(classifier.close)
        detector = None if args.crops else load_detector(settings.vision.detector, settings.vision.accelerator)
        closer: Sequence[FaceDetector] = ()
        if detector is not None:
            stack.callback(detector.close)
            if not args.single_pass:
                closer = load_other_sizes(settings.vision.detector, detector.net.manifest)
        examiner = Examiner(
            settings,
            detector=detector.net if detector else None,
            classifier=classifier.net,
            clock=clock,
            closer=closer,
            single_pass=args.single_pass,
            annotate=args.annotate,
            portraits=portraits,
        )
        _inspect_all(args, examiner, story)
        if args.report is not None:
            manifests = [net.net.manifest for net in (detector, classifier) if net is not None]
            text = page(
                story,
                made=f"{datetime.fromtimestamp(clock.wall_ns() / NS_PER_S).astimezone():%Y-%m-%d %H:%M %Z}",
                version=__version__,
                models=[f"{manifest.name} {manifest.net.sha256[:8]}" for manifest in manifests],
                promise=Promise.of(classifier.net.manifest.name),
                portraits=portraits,
            )
            write(args.report, text)
    return InputError.exit_code if story.unread else 0


def _inspect_all(args: argparse.Namespace, examiner: Examiner, story: Story) -> None:
    as_table = console().is_terminal and not args.json
    with _progress(args.paths) as (out, done):
        for item in find_inputs(args.paths, sys.stdin):
            try:
                if isinstance(item, MaskwatchError):
                    raise item
                for finding in examiner.findings(item):
                    story.add(finding)
                    _print(finding, out, as_table=as_table)
            except (InputError, NotPermittedError) as error:
                story.unread.append(str(error))
                _complain(error, out)
            done()
        if as_table:
            out.print(_last_line(story))


def _last_line(story: Story) -> Text:
    """Count files and verdicts in one line; a clip's persons by their last."""
    line = Text(f"{some(len(story.files), 'file')}: ", "bold").append_text(verdicts(one.label for one in story.seen))
    return line.append(f", {len(story.unread)} could not be read", STYLES["bad"]) if story.unread else line


@contextmanager
def _progress(paths: Sequence[str]) -> Iterator[tuple[Console, Callable[[], None]]]:
    """Show a progress bar where somebody looks. Gives the console for results, and what to call after each file.

    In a terminal results must go through the bar's own console, which moves the bar below them.
    """
    out = console()
    screen = out if out.is_terminal else console(sys.stderr)
    if not screen.is_terminal:
        yield out, lambda: None
        return
    columns = (TextColumn("inspecting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task("", total=count_inputs(paths))
        yield (progress.console if out.is_terminal else out), lambda: progress.advance(task)


def _print(finding: Finding, out: Console, *, as_table: bool) -> None:
    if as_table:
        for row in to_rows(finding, width=out.width):
            out.print(row, no_wrap=True, overflow="ellipsis")
    elif out.is_terminal:
        out.print(to_json(finding), soft_wrap=True)
    else:  # not through rich: a reader of lines wants them at once, and fast
        sys.stdout.write(to_json(finding) + "\n")
        sys.stdout.flush()


def _complain(error: MaskwatchError, out: Console) -> None:
    if out.is_terminal and sys.stderr.isatty():  # the same screen: below the bar it would be overdrawn
        out.print(Text(str(error), STYLES["bad"]), soft_wrap=True)
    else:
        print(error, file=sys.stderr)
