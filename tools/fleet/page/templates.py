"""Pages from templates. Everything that a template prints is escaped and has nothing invisible in it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from markupsafe import Markup
from starlette.responses import HTMLResponse

from tools.fleet.page import bars, words
from tools.fleet.page.filters import address
from tools.fleet.page.health import LEVELS


class Templates:
    """The folder's templates."""

    def __init__(self, folder: Path, zone: ZoneInfo) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_visible,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        told: dict[str, Callable[..., Any]] = {
            "ago": words.ago,
            "clock": partial(words.clock, zone=zone),
            "thousands": _thousands,
        }
        self._environment.filters.update(told)
        known: dict[str, Any] = {
            "address": address,
            "zone": zone.key,
            "labels": words.LABELS,
            "levels_all": LEVELS,
            "named": words.named,
            "size": (bars.WIDTH, bars.HEIGHT, bars.LEFT, bars.BOTTOM),
        }
        self._environment.globals.update(known)

    def page(self, name: str, code: int, **values: object) -> HTMLResponse:
        """Give a page."""
        return HTMLResponse(self._environment.get_template(name).render(values), status_code=code)


def _visible(value: Any) -> Any:
    return words.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
