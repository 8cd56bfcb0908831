"""What pydantic found, in the words of raypipe: key paths of the file, what was expected, the nearest known key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from raypipe.config.model import PipelineSection
from raypipe.config.problems import Problem, Unfit, either, nearest_of, printable, shown
from raypipe.config.section import Section
from raypipe.config.tree import Node, Path, deepest

_TAGGED = ("transform", "outputs")  # lists whose items are told apart by a key, which pydantic puts into its locations
_OF_A_KIND = ("source",)  # sections that are told apart by their kind, which pydantic puts there too
Details = Mapping[str, Any]


def model_problems(error: ValidationError, root: Node) -> list[Problem]:
    """Return one problem for each mistake that the model found in the tree."""
    details = error.errors(include_url=False, include_input=False)
    problems = [_problem(one, root) for one in details]
    meant = {(*_path(one["loc"])[:-1], _near_key(one["loc"])) for one in details if one["type"] == "extra_forbidden"}
    missing = {problem.path for problem, one in zip(problems, details, strict=True) if one["type"] == "missing"}
    # A mistyped key is one mistake: that the right one is missing need not be said too.
    return [problem for problem in problems if not (problem.path in missing and problem.path in meant)]


def known_keys(loc: Path) -> dict[str, str]:
    """Return the keys of the section at a location of the model, and what each is for."""
    section = _section_at(loc)
    keys = {name: field.description or "" for name, field in section.model_fields.items()} if section else {}
    return keys | ({"profiles": ""} if section is PipelineSection else {})


def _problem(details: Details, root: Node) -> Problem:
    path, kind = _path(details["loc"]), details["type"]
    if kind == "missing":
        purpose = known_keys(details["loc"][:-1]).get(str(details["loc"][-1]), "")
        return Problem(path, f"missing, expected: {purpose}" if purpose else "missing")
    if kind == "extra_forbidden":
        known = known_keys(details["loc"][:-1])
        near = _near_key(details["loc"])
        meant = f' did you mean "{near}"?' if near else ""
        listed = f"{'Known' if meant else 'known'} keys: {', '.join(known)}"
        return Problem(path, f"unknown key;{meant} {listed}")
    unfit = details.get("ctx", {}).get("error")
    if isinstance(unfit, Unfit) and details["loc"][-1] == "[key]":
        return Problem(path, f'got the key "{printable(str(path[-1]))}", expected {unfit.expected}')
    if isinstance(unfit, Unfit):
        culprit = (*path, *unfit.below)
        is_section = isinstance(deepest(root, culprit)[0].value, dict)
        return Problem(culprit, f"expected {unfit.expected}", show_got=not is_section, nearest=unfit.nearest)
    expected = _EXPECTED.get(kind, _anything)(details.get("ctx", {}), deepest(root, path)[0])
    nearest = nearest_of(shown(deepest(root, path)[0]).strip('"'), _choices(details)) if kind == "literal_error" else None
    return Problem(path, f"expected {expected}", show_got=True, nearest=nearest)


def _path(loc: Path) -> Path:
    path = tuple(part for part in loc if part != "[key]")
    if path[:1] and path[0] in _TAGGED and len(path) > 2:
        return (*path[:2], *path[3:])
    if path[:1] and path[0] in _OF_A_KIND and len(path) > 1:
        return (path[0], *path[2:])
    return path


def _near_key(loc: Path) -> str | None:
    return nearest_of(str(loc[-1]), known_keys(loc[:-1]))


def _section_at(loc: Path) -> type[Section] | None:
    candidates: list[type[Section]] = [PipelineSection]
    in_mapping = False
    for part in loc:
        if isinstance(part, int) or in_mapping:
            in_mapping = False
        elif len(candidates) > 1:
            candidates = [one for one in candidates if part in one.model_fields or _is_kind(one, part)]
        else:
            field = candidates[0].model_fields.get(part) if candidates else None
            candidates = _sections_in(field.annotation) if field else []
            in_mapping = field is not None and get_origin(field.annotation) is dict
    return candidates[0] if len(candidates) == 1 else None


def _is_kind(section: type[Section], word: int | str) -> bool:
    kind = section.model_fields.get("kind")
    return kind is not None and word in get_args(kind.annotation)


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections_in(argument)]


def _choices(details: Details) -> list[str]:
    return re.findall(r"'([^']*)'", details["ctx"]["expected"])


def _text(_: Details, node: Node) -> str:
    if isinstance(node.value, bool | int | float):
        return f'text; quote it: "{shown(node)}"'
    return 'text; null is a word here only in quotes: "null"' if node.value is None else "text"


def _anything(_: Details, __: Node) -> str:
    return "another value"


_EXPECTED: dict[str, Callable[[Details, Node], str]] = {
    "string_type": _text,
    "int_type": lambda _, __: "a whole number",
    "int_from_float": lambda _, __: "a whole number",
    "float_type": lambda _, __: "a number",
    "finite_number": lambda _, __: "a finite number",
    "bool_type": lambda _, __: "true or false",
    "list_type": lambda _, __: "a list",
    "dict_type": lambda _, __: "keys and values",
    "model_type": lambda _, __: "keys and values",
    "model_attributes_type": lambda _, __: "keys and values",
    "literal_error": lambda context, _: either(re.findall(r"'([^']*)'", context["expected"])),
    "too_short": lambda _, __: "at least one entry",
    "string_too_short": lambda _, __: "text that is not empty",
    "greater_than": lambda context, _: f"more than {context['gt']:g}",
    "greater_than_equal": lambda context, _: f"at least {context['ge']:g}",
    "less_than_equal": lambda context, _: f"at most {context['le']:g}",
}
