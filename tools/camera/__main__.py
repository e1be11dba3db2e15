"""`python -m tools.camera COMMAND`: from clips of one's own camera to faces for the training (docs/own-camera.md).

cut CLIP... --out FOLDER           faces of one's own clips, by person, with proposed labels and a contact sheet
sheet FOLDER                       the contact sheet again, showing FOLDER/labels.csv as it is now
pack FOLDER                        what was corrected, split by person, as a source of the training
score PACKED --model A --model B   how often each net is right about the persons held out
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

# Read when cv2 is imported: what FFmpeg has to say of a damaged clip we say, in one line.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import msgspec
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from agent.camera import CLIP_SUFFIXES, PICTURE_SUFFIXES, list_inputs
from agent.cli.main import Parser
from agent.cli.options import add_config_options, load_settings
from agent.cli.terminal import WORDS, console, some
from agent.errors import InputError, MaskwatchError, NotPermittedError, UsageError
from agent.settings import Settings
from agent.vision.model import Manifest
from agent.vision.nets import load_classifier, load_detector
from tools.camera.album import Album, Crop, labels_csv, load_album, read_labels
from tools.camera.cut import follow, make_token, save_person
from tools.camera.pack import SPLITS, archive, split_persons, table, used
from tools.camera.private import for_owner_only, new_folder, replace, told
from tools.camera.score import interval, load_packed, score
from tools.camera.sheet import page

LOOKS = 8
VAL, TEST = 0.1, 0.2  # of the persons of each label; the rest is learnt from


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code (agent.errors). Every foreseen failure is one line on stderr."""
    try:
        args = parser().parse_args(list(sys.argv[1:] if argv is None else argv))
        with for_owner_only():
            code: int = args.run(args)
    except SystemExit as end:  # --help ends so
        return int(end.code or 0)
    except MaskwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return code


def cut(args: argparse.Namespace) -> int:
    """Cut every clip; 65 if one could not be read, or not to its end."""
    settings = load_settings(args).settings
    clips, unread = _clips(args.clips)
    with told(args.out), new_folder(args.out) as folder, ExitStack() as stack:
        album = _album(args.looks, settings, clips, unread, folder, stack)
        if not album.crops:
            raise InputError(
                "no face was followed in it"
                if len(clips) == 1
                else f"no face was followed in {some(len(clips), 'clip')}",
                where=str(clips[0]) if len(clips) == 1 else "cut",
                remedy="see what the agent sees: maskwatch inspect CLIP --annotate DIR",
            )
        (folder / "cut.json").write_bytes(msgspec.json.format(msgspec.json.encode(album), indent=1))
        (folder / "labels.csv").write_text(labels_csv(album))
        _write_sheet(folder, album)
    _tell(album)
    counted = f"{some(len(album.crops), 'look')} at {some(len(album.persons()), 'person')}"
    print(f"{args.out}: {counted}; now put the labels right")
    print(f"  in a browser: {(args.out / 'sheet.html').absolute().as_uri()}, save, and move labels.csv into {args.out}")
    print(f"  or in an editor: {args.out / 'labels.csv'}, beside the pictures in {args.out / 'crops'}")
    print(f"then: python -m tools.camera pack {args.out}")
    return InputError.exit_code if unread else 0


def _clips(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Give the clips, folders walked, each once, and the complaints about paths that are none, which have been said."""
    clips: dict[Path, Path] = {}
    unread: list[str] = []
    for path in paths:
        try:
            for clip in list_inputs(path, CLIP_SUFFIXES):
                if clip.name.lower().endswith(PICTURE_SUFFIXES):
                    raise InputError("a picture, not a clip", where=str(clip), remedy="name clips: people are followed")
                clips.setdefault(clip.resolve(), clip)
        except (InputError, NotPermittedError) as error:
            _complain(error, unread)
    if not clips:
        raise InputError(
            "there is no clip to cut", where="cut", remedy=f"name files that end in {' '.join(CLIP_SUFFIXES)}"
        )
    return list(clips.values()), unread


def _complain(error: MaskwatchError, unread: list[str]) -> None:
    unread.append(str(error))
    print(error, file=sys.stderr)


def _album(
    looks: int, settings: Settings, clips: Sequence[Path], unread: list[str], folder: Path, stack: ExitStack
) -> Album:
    """Cut all clips into folder/crops. unread: takes the complaints."""
    classifier = load_classifier(settings.vision.classifier, "cpu")
    stack.callback(classifier.close)
    detector = load_detector(settings.vision.detector, "cpu")  # the same labels on every machine
    stack.callback(detector.close)
    manifests: list[Manifest] = [detector.net.manifest, classifier.net.manifest]
    models = [f"{manifest.name} {manifest.net.sha256[:8]}" for manifest in manifests]
    token = make_token(clips, settings, models, looks)
    (folder / "crops").mkdir()
    found: list[Crop] = []
    numbers = count(1)
    columns = (SpinnerColumn(), TextColumn("{task.description}, frame {task.completed:,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True, disable=not sys.stderr.isatty()) as progress:
        for index, clip in enumerate(clips):
            bar = progress.add_task(clip.name, total=None)
            persons = follow(
                clip,
                settings,
                detector.net,
                classifier.net,
                most=looks,
                numbers=numbers,
                done=lambda bar=bar: progress.advance(bar),  # type: ignore[misc]
            )
            try:
                for person in persons:
                    found += save_person(folder / "crops", token, index, person, classifier.net)
            except (InputError, NotPermittedError) as error:
                _complain(error, unread)
            progress.remove_task(bar)
    names = [str(clip.name) for clip in clips]
    return Album(token=token, clips=names, models=models, crops=sorted(found, key=lambda crop: crop.id))


def _tell(album: Album) -> None:
    """Show each person in a line: who looks odd is worth a picture first."""
    lines = Table("person", "clip", "seconds", "looks", "px", "proposed", "looks that differ", box=None, pad_edge=False)
    proposed = album.proposals()
    for person, crops in album.persons().items():
        label = proposed[crops[0].id].label
        odd = sum(crop.likeliest != label or crop.reason is not None for crop in crops)
        sizes, times = [crop.native_px for crop in crops], [crop.t_s for crop in crops]
        where = [album.clips[crops[0].clip], f"{min(times):.1f}-{max(times):.1f}"]
        lines.add_row(
            person, *where, str(len(crops)), f"{min(sizes):.0f}-{max(sizes):.0f}", WORDS[label], str(odd) if odd else ""
        )
    _show(lines)


def _show(lines: Table) -> None:
    out = console()
    if not out.is_terminal:
        out.width = 200  # a pipe has no width: every row is one line
    out.print(lines)


def sheet(args: argparse.Namespace) -> int:
    """Write the contact sheet anew."""
    with told(args.folder):
        _write_sheet(args.folder, load_album(args.folder))
    print((args.folder / "sheet.html").absolute().as_uri())
    return 0


def _write_sheet(folder: Path, album: Album) -> None:
    lines = read_labels(folder / "labels.csv", album)
    replace(folder / "sheet.html", page(album, lines, _pictures(folder, (crop.id for crop in album.crops))).encode())


def _pictures(folder: Path, names: Iterator[str]) -> dict[str, bytes]:
    return {name: (folder / "crops" / f"{name}.webp").read_bytes() for name in names}


def pack(args: argparse.Namespace) -> int:
    """Write NAME.tar and NAME.csv."""
    album = load_album(args.folder)
    path = args.labels or args.folder / "labels.csv"
    lines = read_labels(path, album)
    if path.read_text(encoding="utf-8-sig") == labels_csv(album) and not args.as_proposed:
        raise InputError(
            "is as `cut` has proposed it: a net would learn its own mistakes",
            where=str(path),
            remedy="correct it, or say --as-proposed if somebody has looked and all is right",
        )
    rows = used(lines)
    splits = split_persons(rows, val=args.val, test=args.test, seed=args.seed)
    out: Path = args.out or args.folder / "packed"
    csv_path, tar_path = out / f"{args.name}.csv", out / f"{args.name}.tar"
    with told(out):
        if csv_path.exists() or tar_path.exists():
            raise UsageError("is there already", where=str(csv_path), remedy="delete it with its .tar, or name another")
        if not out.exists():
            out.mkdir(parents=True)
            (out / ".gitignore").write_text("*\n")
        replace(tar_path, archive(rows, _pictures(args.folder, (row.crop for row in rows))))
        replace(csv_path, table(album, rows, splits))  # last: what reads sources goes by the tables
    said = Counter(line.label for line in lines.values())
    away = [f"{said['not_a_face']} no face", f"{len(album.crops) - len(rows) - said['not_a_face']} left out"]
    print(f"{csv_path}: {some(len(rows), 'look')} at {some(len(splits), 'person')}; {', '.join(away)}")
    for split in SPLITS:
        chosen = [row for row in rows if splits[row.person] == split]
        persons = {label: len({row.person for row in chosen if row.label == label}) for label in WORDS}
        told_of = [f"{number} {WORDS[label]}" for label, number in persons.items() if number]
        print(f"  {split:<5} {some(len(chosen), 'look')}, persons: {', '.join(told_of) or 'none'}")
    return 0


def score_nets(args: argparse.Namespace) -> int:
    """Print a table of the nets named."""
    faces, persons = load_packed(args.folder)
    lines = Table("net", "label", "persons right", "95 %", "looks right", "answered", "right of these", box=None)
    for name in args.model:
        with ExitStack() as stack:
            loaded = load_classifier(name, "cpu")
            stack.callback(loaded.close)
            for one in score(loaded.net, faces, persons, args.split):
                low, high = interval(one.persons_right, one.persons)
                lines.add_row(
                    loaded.net.manifest.name,
                    WORDS[one.label],
                    f"{one.persons_right} of {one.persons}",
                    f"{low:.0%}-{high:.0%}",
                    f"{one.looks_right} of {one.looks}",
                    f"{one.looks_answered}",
                    f"{one.answered_right}",
                )
    if not lines.row_count:
        raise InputError(f"has nobody in split {args.split}", where=str(args.folder), remedy=f"use {', '.join(SPLITS)}")
    _show(lines)
    return 0


def parser() -> Parser:
    """Give the parser of all commands."""
    top = Parser(prog="python -m tools.camera", description="Training faces from clips of one's own camera.")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    one = commands.add_parser("cut", help="faces out of clips, by person, with proposed labels and a contact sheet")
    one.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="a clip, or a folder of them")
    one.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="made for this; will hold pictures of people"
    )
    one.add_argument("--looks", type=_at_least_one, default=LOOKS, help="kept of each person; default: %(default)s")
    add_config_options(one)
    one.set_defaults(run=cut)
    one = commands.add_parser("sheet", help="the contact sheet again, showing labels.csv as it is now")
    one.set_defaults(run=sheet)
    one.add_argument("folder", type=Path, metavar="FOLDER")
    one = commands.add_parser("pack", help="what was corrected, split by person, as a source of the training")
    one.add_argument("folder", type=Path, metavar="FOLDER", help="that `cut` has made")
    one.add_argument("--labels", type=Path, metavar="FILE", help="default: FOLDER/labels.csv")
    one.add_argument("--out", type=Path, metavar="PACKED", help="default: FOLDER/packed")
    one.add_argument("--name", type=_source_name, default="mine", help="of the source; default: %(default)s")
    one.add_argument("--val", type=_share, default=VAL, help="share of the persons of each label; default: %(default)s")
    one.add_argument("--test", type=_share, default=TEST, help="the same; default: %(default)s")
    one.add_argument("--seed", type=int, default=1, help="of the split; default: %(default)s")
    one.add_argument("--as-proposed", action="store_true", help="somebody has looked, and all proposals are right")
    one.set_defaults(run=pack)
    one = commands.add_parser("score", help="how often nets are right about the persons held out")
    one.add_argument("folder", type=Path, metavar="PACKED", help="that `pack` has written to")
    one.add_argument(
        "--model", action="append", required=True, help="in models/, or a manifest's path; may be repeated"
    )
    one.add_argument("--split", choices=SPLITS, default="test", help="default: %(default)s")
    one.set_defaults(run=score_nets)
    return top


def _at_least_one(word: str) -> int:
    number = int(word)
    if not 1 <= number <= 99:
        raise argparse.ArgumentTypeError(f"{number}; give 1 to 99")
    return number


def _share(word: str) -> float:
    share = float(word)
    if not 0 < share <= 0.4:
        raise argparse.ArgumentTypeError(f"{share}; give a share above 0, at most 0.4: the rest is learnt from")
    return share


def _source_name(word: str) -> str:
    if not (word.isascii() and word.replace("_", "").isalnum()):
        raise argparse.ArgumentTypeError(f"{word!r}; give letters, digits and _")
    return word


if __name__ == "__main__":
    sys.exit(main())
