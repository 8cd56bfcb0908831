"""Section: a mapping with known keys in a configuration, and how its kinds are told apart."""

from __future__ import annotations

import threading
from typing import Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator

from raypipe.config.problems import Unfit, nearest_of
from raypipe.late_packages import late


class Section(BaseModel):
    """A mapping with known keys; all others are refused."""

    # Built when first used, from the root: building each section at import takes 0.15 s of every command.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    @classmethod
    def judged(cls, data: Any) -> Self:
        """Return the section that data describes; raises pydantic's ValidationError with all that is wrong."""
        with _building:
            if not cls.__pydantic_complete__:
                # For plugins pydantic reads what every installed package says of itself: 15 ms with 100 packages.
                with late(_PLUGINS, known={"get_plugins": tuple}):
                    cls.model_rebuild()
        return cls.model_validate(data)


_building = threading.Lock()
_PLUGINS = "pydantic.plugin._loader"


def known_kind(*known: str) -> BeforeValidator:
    """Refuse an unknown kind by itself: what else stands in its section cannot be judged."""

    def check(value: Any) -> Any:
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind is not None and kind not in known:
            raise Unfit(f"a known kind: {', '.join(known)}", nearest=nearest_of(str(kind), known), below=("kind",))
        return value

    return BeforeValidator(check)


def kind_of(known: tuple[str, ...]) -> Discriminator:
    """Tell the members of a union apart by their key `kind`; where that lacks, it is missing of the first."""

    def kind(value: Any) -> str:
        found = value.get("kind") if isinstance(value, dict) else None
        return found if found in known else known[0]

    return Discriminator(kind)


def _words_in(value: Any, words: tuple[str, ...]) -> list[str]:
    return [word for word in words if word in value]


def told_apart_by(words: tuple[str, ...], noun: str) -> tuple[Discriminator, BeforeValidator]:
    """Tell the members of a union apart by the one key that names them."""

    def word(value: Any) -> str:
        return next(iter(_words_in(value, words)), "")

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            near = nearest_of(value, words) if isinstance(value, str) else None
            raise Unfit(f"keys and values with one of the keys {', '.join(words)}", nearest=near)
        found = _words_in(value, words)
        if len(found) == 1:
            return value
        if found:
            raise Unfit(f"one {noun} an item; this one has {' and '.join(found)}")
        near = next(filter(None, (nearest_of(str(key), words) for key in value)), None)
        keys = ", ".join(str(key) for key in value) or "none"
        raise Unfit(f"one of the keys {', '.join(words)}; the keys here are: {keys}", nearest=near)

    return Discriminator(word), BeforeValidator(check)
