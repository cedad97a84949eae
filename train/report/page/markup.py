"""Pieces of an HTML page. Text is escaped on entry, so that nothing read from a file becomes markup."""

import html
import json
from collections.abc import Sequence
from typing import Any

VOID = ("br", "input", "meta")


class Html(str):
    """Markup, as `element` makes it; any other string is text."""

    __slots__ = ()


def escape(text: Any) -> Html:
    """`text` escaped for use between tags and in quoted attributes."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def element(name: str, /, *children: Any, **attributes: Any) -> Html:
    """`<name ...>children</name>`, with everything escaped that is not `Html`.

    Children may be nested in lists; None is left out. Attributes: `stroke_width` stands for stroke-width, `class_` for
    class; True gives the bare name, None and False nothing.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            word = key.rstrip("_").replace("_", "-")
            words.append(word if value is True else f'{word}="{escape(value)}"')
    start = f"<{' '.join(words)}>"
    return Html(start) if name in VOID else Html(f"{start}{join(children)}</{name}>")


def join(children: Sequence[Any], between: str = "") -> Html:
    """The children one after another, escaped like those of `element`."""
    parts = []
    for child in children:
        if isinstance(child, list | tuple):
            parts.append(join(child))
        elif child is not None:
            parts.append(escape(child))
    return Html(between.join(parts))


def table(caption: Any, rows: list[list[Any]], **attributes: Any) -> Html:
    """A table that scrolls if it is too wide. The first row is its header, each first cell its row's.

    A cell may be a `td` already, to have a separate class.
    """
    header, *body = rows
    head = element("tr", [element("th", cell, scope="col") for cell in header])
    lines = [element("tr", element("th", row[0], scope="row"), [_cell(cell) for cell in row[1:]]) for row in body]
    parts = element("caption", element("span", caption)), element("thead", head), element("tbody", lines)
    # focusable, so that the keyboard can scroll it; the frame shows at which edge there is more
    wide = element("div", element("table", *parts, **attributes), class_="wide", tabindex="0")
    return element("div", wide, class_="frame")


def _cell(cell: Any) -> Html:
    return cell if isinstance(cell, Html) and cell.startswith("<td") else element("td", cell)


def figure(caption: Any, *parts: Any, **attributes: Any) -> Html:
    """A figure below its caption."""
    return element("figure", element("figcaption", caption), *parts, **attributes)


def prose(text: Any) -> Any:
    """A sentence whose words between backticks are code; what is no plain string stays as it is."""
    if isinstance(text, Html) or not isinstance(text, str):
        return text
    return join([element("code", part) if code else part for code, part in _parts(text)])


def _parts(text: str) -> list[tuple[bool, str]]:
    """Whether each part of `text` stands between backticks, and the part; one without its partner is a letter."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        parts[-2:] = ["`".join(parts[-2:])]
    return [(place % 2 == 1, part) for place, part in enumerate(parts)]


def bullets(sentences: Sequence[Any]) -> Html | None:
    """A list; None for no sentences."""
    return element("ul", [element("li", prose(sentence)) for sentence in sentences]) if sentences else None


def details(summary: Any, *children: Any) -> Html:
    """Content that is folded away until it is opened."""
    return element("details", element("summary", summary), *children)


def json_block(name: str, value: Any) -> Html:
    """`value` as embedded JSON: `JSON.parse(document.getElementById(name).textContent)`.

    No `<`, `>` or `&` is left in it, so that neither `</script>` nor `<!--` can end or open anything.
    """
    text = json.dumps(value, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return element("script", Html(text), type="application/json", id=name)
