"""The contact sheet: one HTML file that needs nothing else, loads nothing from anywhere and sends nothing."""

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from agent.cli.html import Markup, el, join
from agent.cli.terminal import some
from tools.camera.album import WORDS, Album, Crop, Line, Said

_SHOWN_PX = 128  # larger looks are shown shrunk to this; the crops themselves stay as they are
_QUALITY = 85
_HERE = Path(__file__).parent


def page(album: Album, lines: Mapping[str, Line], pictures: Mapping[str, bytes]) -> str:
    """Write the page. lines: what is said of each crop so far; pictures: each crop's WebP file."""
    style, script = ((_HERE / f"sheet.{kind}").read_text() for kind in ("css", "js"))
    digest = b64encode(sha256(script.encode()).digest()).decode()
    rows = _rows(album, lines)
    names = list(rows)
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width,initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("title", "Who wears a mask? Faces to label"),
        el("style", Markup(style)),
    )
    body = [
        el("h1", "Who wears a mask?"),
        el(
            "p",
            el("b", f"This file holds pictures of {some(len(names), 'person')}. "),
            "Keep it where only those may read who must, and delete it after.",
            class_="note",
        ),
        el(
            "p",
            "Each row is one person as the camera followed them, with the label that the present net proposes. Put it "
            "right where it is wrong, for the whole person or for single looks. A person who comes twice must be one "
            "person: write the other one's name into “same person as”. Looks at which the net says "
            "something else, or is unsure, have a frame. At the end save, and put labels.csv into this folder.",
        ),
        el("p", "Keys: Tab from field to field, arrows within one, first letter in a list.", class_="pale"),
        el("noscript", el("p", "Saving needs JavaScript. Without it, edit labels.csv.", class_="note")),
        el("datalist", *(el("option", value=name) for name in names), id="persons"),
        *(_section(album, name, crops, lines, pictures) for name, crops in rows.items()),
    ]
    foot = el("footer", el("output"), el("button", "Save labels.csv", type="button"))
    parts = el("body", el("main", *body), foot, el("script", Markup(script)))
    return join(Markup("<!doctype html>\n"), el("html", head, parts, lang="en"), Markup("\n"))


def _rows(album: Album, lines: Mapping[str, Line]) -> dict[str, list[Crop]]:
    """Give the crops by who they are said to be; one whose line was deleted stays with whom it was followed as."""
    rows: dict[str, list[Crop]] = {}
    for crop in album.crops:
        line = lines.get(crop.id)
        rows.setdefault(crop.person if line is None else line.person, []).append(crop)
    return rows


def _section(
    album: Album, name: str, crops: list[Crop], lines: Mapping[str, Line], pictures: Mapping[str, bytes]
) -> Markup:
    said: list[Said] = [lines[crop.id].label if crop.id in lines else "leave_out" for crop in crops]
    ((common, _),) = Counter(said).most_common(1)
    radios = [
        el(
            "label",
            _input(type="radio", name=name, value=word, checked="" if word == common else None, autocomplete="off"),
            shown,
        )
        for word, shown in WORDS.items()
    ]
    same = el("label", "same person as ", _input(list="persons", autocomplete="off", spellcheck="false"))
    looks = [
        _look(name, number, crop, label if label != common else None, pictures[crop.id])
        for number, (crop, label) in enumerate(zip(crops, said, strict=True), 1)
    ]
    return el(
        "section",
        el("h2", name, el("small", _about(album, crops)), id=name),
        el("fieldset", el("legend", f"{name} is"), *radios, same, el("b", class_="same")),
        el("ul", *looks),
        aria_labelledby=name,
        data_person=name,
    )


def _about(album: Album, crops: list[Crop]) -> str:
    clips = [album.clips[index] for index in dict.fromkeys(crop.clip for crop in crops)]
    sizes = [crop.native_px for crop in crops]
    times = [crop.t_s for crop in crops]
    return f"{', '.join(clips)} · {min(times):.1f} to {max(times):.1f} s · {min(sizes):.0f} to {max(sizes):.0f} px"


def _look(name: str, number: int, crop: Crop, own: Said | None, picture: bytes) -> Markup:
    decoded: Any = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    height, width = decoded.shape[:2]
    if max(height, width) > _SHOWN_PX:
        scale = _SHOWN_PX / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(decoded, size, interpolation=cv2.INTER_AREA)
        picture = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].tobytes()
    x0, y0, x1, y1 = crop.box
    drawing = el(
        "svg",
        el("image", href=f"data:image/webp;base64,{b64encode(picture).decode()}", width=width, height=height),
        el("rect", x=x0, y=y0, width=x1 - x0, height=y1 - y0),
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=f"{name}, look {number}",
    )
    options = [el("option", "as above", value="", selected="" if own is None else None)]
    options += [el("option", shown, value=word, selected="" if word == own else None) for word, shown in WORDS.items()]
    return el(
        "li",
        drawing,
        el("p", f"{crop.t_s:.1f} s · {crop.native_px:.0f} px"),
        el("p", f"{WORDS[crop.likeliest]} {max(crop.probs):.0%}{', unsure' if crop.reason else ''}"),
        el("select", *options, aria_label=f"look {number} of {name}", autocomplete="off"),
        data_crop=crop.id,
        data_likeliest=crop.likeliest,
        data_unsure="yes" if crop.reason else "no",
    )


def _input(**attributes: str | None) -> Markup:
    return Markup(el("input", **attributes).removesuffix("</input>"))
