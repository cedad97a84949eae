"""A dataclass whose fields are options of a command: name, type, default and help are declared once, at the field."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar, get_args, get_type_hints

import click

T = TypeVar("T")

COUNT = click.IntRange(1)
POSITIVE = click.FloatRange(0, min_open=True)
NOT_NEGATIVE = click.FloatRange(0)
PART = click.FloatRange(0, 1)
SHARE = click.FloatRange(0, 1, max_open=True)
WHOLE = click.FloatRange(0, 1, min_open=True)


class Span(click.ParamType):
    """START:END, two numbers of epochs from 0 on; (start, end)."""

    name = "start:end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            start, end = map(float, value.split(":"))
        except ValueError:
            self.fail(f"expected two numbers of epochs such as 10:110, found {value!r}", param, ctx)
        return start, end


class Epochs(click.ParamType):
    """K,...: epochs counted from 0; a tuple in ascending order."""

    name = "epochs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",")]
        if not all(word.isdecimal() for word in words):
            self.fail(f"expected epochs from 0 on such as 0,5, found {value!r}", param, ctx)
        return tuple(sorted(set(map(int, words))))


_OPTION, _SECTION, _FLAG = "option", "section", "flag"


def option(
    help: str,
    *,
    default: Any = MISSING,
    section: str | None = None,
    choices: Sequence[str] | None = None,
    flag: str | None = None,
    **attributes: Any,
) -> Any:
    """A dataclass field that is also an option: `--lr-batch` for `lr_batch`, `--align/--no-align` for booleans.

    Args:
        help: documents the field and the option.
        default: of the field; without one, the field is required.
        section: heading of the command's help that begins with this option.
        choices: the values that there are.
        flag: the option's name where it is not the field's.
        attributes: for click.option, such as `type` (by default the annotation's), `metavar` or `show_default`;
            `is_flag=True` makes a boolean an option without its --no- half.
    """
    if choices:
        attributes["type"] = click.Choice(choices)
    return field(default=default, metadata={_OPTION: {"help": help, **attributes}, _SECTION: section, _FLAG: flag})


def click_options(cls: type, *, defaults: bool = True) -> Callable[[Callable], Callable]:
    """A decorator that gives a command the options of the dataclass `cls`, in the order of its fields.

    defaults: whether options have the fields' defaults; otherwise an option that was not given is None.
    """
    annotations = get_type_hints(cls)
    options = [_click_option(each, annotations[each.name], defaults) for each in options_of(cls)]

    def decorate(command: Callable) -> Callable:
        for each in reversed(options):
            command = each(command)
        return command

    return decorate


def parsed(cls: type[T], values: dict[str, Any]) -> T:
    """The `cls` of a command's `values`, which may hold those of other options, too."""
    return cls(**{each.name: values[each.name] for each in options_of(cls)})


def options_of(cls: type) -> list[Field]:
    """The fields of the dataclass `cls` that `option` made."""
    return [each for each in fields(cls) if _OPTION in each.metadata]


def sections_of(cls: type) -> dict[str, str]:
    """Headings of the help for `cls`, each with the name of the first option below it, as `SectionedCommand` has it."""
    return {heading: each.name for each in options_of(cls) if (heading := each.metadata[_SECTION])}


def _click_option(each: Field, annotation: Any, defaults: bool) -> Callable[[Callable], Callable]:
    attributes = dict(each.metadata[_OPTION])
    kind = next((part for part in get_args(annotation) if part is not type(None)), annotation)
    name = each.metadata[_FLAG] or f"--{each.name.replace('_', '-')}"
    if kind is bool and not attributes.get("is_flag"):
        name = f"{name}/--no-{name.removeprefix('--')}"
    else:
        attributes.setdefault("type", kind)
    if not defaults:
        attributes["default"] = None
    elif each.default is MISSING:
        attributes["required"] = True
    else:
        attributes["default"] = each.default
    return click.option(name, each.name, **attributes)
