"""HTML as values: an element escapes what it is given, so that a file's name cannot become markup."""

from html import escape

_VOID = frozenset({"img", "meta"})


class Markup(str):
    """Text that is HTML already; any other text is escaped where it goes into an element."""


def el(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """Give an element. attributes: `class_` for class, `_` for a hyphen; None leaves one out; floats to two digits."""
    words = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        words.append(f'{key.rstrip("_").replace("_", "-")}="{escape(shown)}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in _VOID else f"{opening}{join(*children)}</{name}>")


def join(*parts: str) -> Markup:
    """Put parts one after the other."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def table(titles: list[str], rows: list[list[str]], *, numbers: frozenset[int] = frozenset()) -> Markup:
    """Give a table. numbers: the columns that are right-aligned."""

    def cells(name: str, row: list[str]) -> list[Markup]:
        return [el(name, cell, class_="n" if place in numbers else None) for place, cell in enumerate(row)]

    head = el("thead", el("tr", *cells("th", titles)))
    body = el("tbody", *(el("tr", *cells("td", row)) for row in rows))
    return el("div", el("table", head, body), class_="wide", tabindex="0", role="region")
