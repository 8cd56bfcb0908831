"""Every promise of the standard decorator that raypipe's values lean on holds for the one that writes its methods late."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import field
from typing import Any, ClassVar

import pytest

from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A frozen value with every kind of field."""

    KIND: ClassVar[str] = "point"
    x: int
    y: int = 2
    marks: list[int] = field(default_factory=list, compare=False)
    hidden: str = field(default="h", repr=False)
    derived: int = field(init=False, default=7)


@dataclass(frozen=True, slots=True)
class Named(Point):
    """One that inherits fields."""

    name: str = "n"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One that is made by names alone."""

    first: int
    second: str = "s"


@dataclass(slots=True)
class Counter:
    """One that changes."""

    count: int = 0


@dataclass
class Plain:
    """One without slots, and a hash of its own."""

    count: int = 0

    def __hash__(self) -> int:
        return 1


def test_it_is_made_by_position_by_name_and_with_defaults() -> None:
    made = Point(1, marks=[3])
    assert (made.x, made.y, made.marks, made.hidden, made.derived) == (1, 2, [3], "h", 7)
    assert Point(1).marks is not Point(1).marks
    assert (Named(1, name="other").name, Options(first=1).second) == ("other", "s")


@pytest.mark.parametrize("wrong", [lambda: Point(), lambda: Point(1, 2, 3, 4, 5, 6), lambda: Point(1, z=2), lambda: Options(1)])  # type: ignore[call-arg, misc]
def test_wrong_arguments_are_refused(wrong: Any) -> None:
    for _ in range(2):  # before and after the method is written
        with pytest.raises(TypeError, match="__init__"):
            wrong()


def test_its_own_check_runs_after_it_is_made() -> None:
    with pytest.raises(ValueError, match="name: empty"):
        Named(1, name="")


def test_equal_values_are_equal_and_have_one_hash() -> None:
    assert Options(first=1) == Options(first=1) != Options(first=2)
    assert len({Options(first=1), Options(first=1), Options(first=2)}) == 2
    assert Point(1, marks=[1]) == Point(1, marks=[2])  # `compare=False`
    assert hash(Point(1, marks=[1])) == hash(Point(1))
    assert Named(1) != Point(1)


def test_what_changes_has_no_hash_unless_it_says_one() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Counter())
    assert hash(Plain()) == 1


@pytest.mark.parametrize("value", [Point(1), Named(1), Options(first=1)])
def test_a_frozen_value_cannot_be_changed(value: Any) -> None:
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError, match=name):
        setattr(value, name, 5)
    with pytest.raises(dataclasses.FrozenInstanceError, match=name):
        delattr(value, name)
    assert not hasattr(value, "__dict__")


def test_one_that_is_not_frozen_can_be_changed() -> None:
    counter = Counter()
    counter.count += 1
    assert counter == Counter(1)


def test_it_is_shown_as_the_standard_one_shows_it() -> None:
    assert repr(Point(1)) == "Point(x=1, y=2, marks=[], derived=7)"


@pytest.mark.parametrize("value", [Point(1, 5, [2]), Named(1, name="x"), Options(first=1), Counter(4), Plain(4)])
def test_it_travels_between_processes_and_is_copied(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value


def test_the_functions_of_the_standard_library_know_it() -> None:
    assert dataclasses.is_dataclass(Point)
    assert dataclasses.replace(Named(1), name="x") == Named(1, name="x")
    assert dataclasses.asdict(Options(first=1)) == {"first": 1, "second": "s"}
    match Point(4):
        case Point(x, y):
            assert (x, y) == (4, 2)


def test_no_method_is_written_before_it_is_called() -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        """Not used yet."""

        x: int

    before = Fresh.__init__, Fresh.__eq__, Fresh.__hash__
    assert Fresh(1) == Fresh(1)
    assert hash(Fresh(1)) == hash(Fresh(1))
    assert all(now is not then for now, then in zip((Fresh.__init__, Fresh.__eq__, Fresh.__hash__), before, strict=True))


def test_no_signature_is_written_for_a_class_without_a_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("inspect.signature", asked.append)

    @dataclass(frozen=True, slots=True)
    class Bare:
        x: int

    assert (asked, Bare.__doc__, Bare(1).x) == ([], "Bare", 1)
