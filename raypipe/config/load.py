"""load_pipeline: a YAML file or `module:attribute` becomes a Pipeline, or one error that tells everything that is wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from raypipe.config import yaml_text
from raypipe.config.build import build_pipeline
from raypipe.config.cross_checks import cross_checks
from raypipe.config.document import document_of
from raypipe.config.model import PipelineSection
from raypipe.config.model_problems import model_problems
from raypipe.config.problems import (
    Problem,
    Told,
    did_you_mean,
    either,
    escaped,
    in_order,
    located,
    nearest_of,
    place_of,
    printable,
    redacted,
    shown,
    told,
)
from raypipe.config.python_target import import_pipeline, names_python
from raypipe.config.substitution import substituted
from raypipe.config.tree import Node, Place, grown, merged, noted, plain, with_node
from raypipe.errors import ConfigurationError
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline

PROFILES_MAX = 100  # each is judged with every load
TOLD_MAX = 200  # problems in one error; who has more has one cause


@dataclass(slots=True)
class Document:
    """A configuration as written: its tree without `profiles`, its profiles, and the problems of its form."""

    label: str
    """How problems name it: the target as given."""
    folder: FilePath
    """Where relative paths start."""
    root: Node
    profiles: dict[str, Node] = field(default_factory=dict)
    problems: list[Told] = field(default_factory=list)


@dataclass(slots=True)
class _Examined:
    """What became of one tree: a model, or problems; and what must not be shown."""

    root: Node
    model: PipelineSection | None
    problems: list[Problem]
    secrets: list[tuple[str, str]]


def load_pipeline(
    target: str | FilePath,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    folder: FilePath | None = None,
    elsewhere: bool = False,
) -> Pipeline:
    """Return the pipeline of a YAML file, or of `module:attribute`.

    `profile` names one of the file's profiles, merged over the rest; `overrides` are `key.path=value` with the value in
    YAML, applied after it. `environ` stands for the process's environment in `${env:NAME}`. `folder` is where relative
    paths of data start instead of the document's own folder: for a copy that travels without them. With `elsewhere` the
    pipeline will run in another environment: a reference that has no value here stands as written. Raises
    ConfigurationError with all problems.
    """
    document = load_document(target)
    problems = list(document.problems)
    root, said = _with_profile(document, profile)
    problems += said
    for override in overrides:
        root, said = _with_override(root, override)
        problems += said
    environment = os.environ if environ is None else environ
    beside = folder or document.folder
    examined = _examine(root, beside, environment)
    mistakes = [one for one in examined.problems if not (elsewhere and one.unresolved)]
    if not mistakes and examined.model is None:  # only the value that is missing here could tell
        mistakes = examined.problems
    problems += [told(examined.root, one) for one in mistakes]
    secrets = examined.secrets
    for name, overlay in document.profiles.items():
        if name != profile:
            said, more = _judge_profile(document, overlay, environment, beside)
            problems += said
            secrets += more
    if problems or examined.model is None:
        raise _refused(document.label, redacted(in_order(problems), secrets))
    return build_pipeline(examined.model, document.folder, beside)


def _refused(label: str, texts: list[str]) -> ConfigurationError:
    if len(texts) > TOLD_MAX:
        texts = [*texts[:TOLD_MAX], f"{label}: and {len(texts) - TOLD_MAX} problems more"]
    return ConfigurationError(texts)


def load_document(target: str | FilePath) -> Document:
    """Read a target into a tree, without looking at what its keys mean. Raises ConfigurationError when it cannot be read."""
    if isinstance(target, str) and names_python(target):
        return _python_document(target)
    path, label = FilePath(target), escaped(str(target))
    text = _text_of(path, label)
    try:
        parsed = yaml_text.parse(text, lambda line: Place(label, line))
    except yaml_text.TextRefused as refused:
        raise ConfigurationError(str(refused)) from None
    folder = FilePath(os.path.normpath(path.absolute().parent))
    document = Document(label, folder, parsed.root, problems=parsed.problems)
    if not isinstance(parsed.root.value, dict):
        document.problems.append(_said(parsed.root.place, f"got {shown(parsed.root)}, expected keys and values"))
        raise ConfigurationError(in_order(document.problems))
    _split_profiles(document)
    return document


def _python_document(target: str) -> Document:
    pipeline = import_pipeline(target)
    try:
        root = grown(document_of(pipeline), Place(target))
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"{target}: the Pipeline is not complete: {printable(str(error))}") from error
    return Document(target, pipeline.folder, root)


def _text_of(path: FilePath, label: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(yaml_text.TEXT_BYTES_MAX + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"{label}: no such file; expected a YAML file or module:attribute" + _beside(path)) from None
    except OSError as error:
        raise ConfigurationError(f"{label}: {error.strerror or 'cannot be read'}; expected a YAML file") from None
    if len(content) > yaml_text.TEXT_BYTES_MAX:
        raise ConfigurationError(f"{label}: the file has more than {yaml_text.TEXT_BYTES_MAX} bytes; expected a configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{label}:{line}: the file is not UTF-8 text") from None


def _beside(path: FilePath) -> str:
    names = [one.name for one in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    near = nearest_of(path.name, sorted(names))
    return did_you_mean(str(path.with_name(near)) if near else None)


def _split_profiles(document: Document) -> None:
    assert isinstance(document.root.value, dict)
    children = dict(document.root.value)
    profiles = children.pop("profiles", None)
    document.root = replace(document.root, value=children)
    if profiles is None:
        return
    if not isinstance(profiles.value, dict):
        document.problems.append(_said(profiles.place, f"profiles: got {shown(profiles)}, expected names and what each changes"))
        return
    if len(profiles.value) > PROFILES_MAX:
        document.problems.append(_said(profiles.place, f"profiles: got {len(profiles.value)}, expected at most {PROFILES_MAX}"))
        return
    for name, overlay in profiles.value.items():
        path = f"profiles.{printable(name)}"
        if not isinstance(overlay.value, dict):
            document.problems.append(_said(overlay.place, f"{path}: got {shown(overlay)}, expected the keys that it changes"))
        elif inner := overlay.value.get("profiles"):
            document.problems.append(_said(inner.place, f"{path}.profiles: a profile holds no profiles"))
        else:
            document.profiles[name] = noted(overlay, f" (profile {printable(name)})")


def _with_profile(document: Document, profile: str | None) -> tuple[Node, list[Told]]:
    if profile is None:
        return document.root, []
    if profile in document.profiles:
        return merged(document.root, document.profiles[profile]), []
    expected = either(document.profiles) if document.profiles else "no profile: the configuration has none"
    near = did_you_mean(nearest_of(profile, document.profiles))
    return document.root, [_said(Place(document.label), f'--profile: got "{printable(profile)}", expected {expected}{near}')]


def _with_override(root: Node, override: str) -> tuple[Node, list[Told]]:
    place = Place(f"--set {printable(override)}")
    key, equals, value = override.partition("=")
    path = tuple(key.strip().split("."))
    if path[0] == "profiles":
        return root, [_said(place, "profiles are laid over the rest before this; set the key itself")]
    if not equals or not all(path):
        return root, [_said(place, "expected key.path=value, such as time.shard=1h or outputs.0.table=flights")]
    try:
        parsed = yaml_text.parse(value or "null", lambda _: place)
        changed = with_node(root, path, parsed.root)
    except yaml_text.TextRefused as refused:
        return root, [Told(place, str(refused))]
    except LookupError as error:
        return root, [_said(place, str(error.args[0]))]
    return changed, parsed.problems


def _said(place: Place, message: str) -> Told:
    return Told(place, f"{place}: {message}")


def _examine(root: Node, folder: FilePath, environ: Mapping[str, str]) -> _Examined:
    done = substituted(root, environ=environ, folder=folder)
    data: Any = plain(done.root)
    found: list[Problem] = list(cross_checks(data))
    model = None
    try:
        model = PipelineSection.judged(data)
    except ValidationError as error:
        found = model_problems(error, done.root) + found
    # What stands at an unresolved reference is unknown: only that it is unresolved can be said.
    found = [problem for problem in found if located(done.root, problem) not in done.unresolved]
    return _Examined(done.root, model, done.problems + found, done.secrets)


def _judge_profile(
    document: Document, overlay: Node, environ: Mapping[str, str], folder: FilePath
) -> tuple[list[Told], list[tuple[str, str]]]:
    """Return what is wrong in a profile that was not asked for; its references may well have no value here."""
    examined = _examine(merged(document.root, overlay), folder, environ)
    its_own = [one for one in examined.problems if not one.unresolved and place_of(examined.root, one).note == overlay.place.note]
    return [told(examined.root, one) for one in its_own], examined.secrets
