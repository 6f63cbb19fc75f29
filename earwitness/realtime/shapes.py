"""Checks of values that a client sent, put together into the shape of an event.

A check takes (value, path) and returns the value, or raises ``Refusal``; ``path`` is the protocol's ``param``, such as
``session.audio.input.format``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], Any]


class Refusal(ValueError):
    """A client's request that cannot be served; becomes one ``error`` event and leaves the session as it was."""

    def __init__(
        self,
        message: str,
        code: str = "invalid_value",
        param: str | None = None,
        event_id: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.code, self.param, self.event_id, self.kind = code, param, event_id, kind

    def event(self) -> dict[str, Any]:
        """Return the ``error`` event, alike in both dialects; ``event_id`` inside is that of the client's event."""
        error = {"type": self.kind, "code": self.code, "message": str(self), "param": self.param}
        return {"type": "error", "error": {**error, "event_id": self.event_id}}


def _wrong_type(value: Any, path: str, wanted: str) -> Refusal:
    found = "null" if value is None else type(value).__name__
    return Refusal(f"{path} is of type {found}; send {wanted}", "invalid_type", path)


def text(longest: int = 65_536, shortest: int = 0) -> Check:
    """Return a check for a string of a length in characters."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, str):
            raise _wrong_type(value, path, "a string")
        if not shortest <= len(value) <= longest:
            wanted = f"{shortest} to {longest}" if shortest else f"at most {longest}"
            raise Refusal(f"{path} has {len(value)} characters; send {wanted}", "invalid_value", path)
        return value

    return check


def number(low: float, high: float, whole: bool = False) -> Check:
    """Return a check for a finite number from ``low`` to ``high``, both allowed."""

    def check(value: Any, path: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int,) if whole else (int, float)):
            raise _wrong_type(value, path, "a whole number" if whole else "a number")
        if not (low <= value <= high) or not math.isfinite(value):
            raise Refusal(f"{path} is {value}; send a value from {low} to {high}", "invalid_value", path)
        return value

    return check


def flag(value: Any, path: str) -> Any:
    """Accept true and false."""
    if not isinstance(value, bool):
        raise _wrong_type(value, path, "true or false")
    return value


def anything(value: Any, path: str) -> Any:
    """Accept any value, for fields of the protocol that have no effect here."""
    return value


def mapping(value: Any, path: str) -> Any:
    """Accept any object, such as a JSON schema."""
    if not isinstance(value, dict):
        raise _wrong_type(value, path, "an object")
    return value


def one_of(*allowed: Any) -> Check:
    """Return a check for one of a few words."""

    def check(value: Any, path: str) -> Any:
        if not any(value == word and type(value) is type(word) for word in allowed):
            shown = repr(value)[:80]
            raise Refusal(f"{path} is {shown}; send one of {', '.join(map(repr, allowed))}", "invalid_value", path)
        return value

    return check


def optional(inner: Check) -> Check:
    """Return a check that takes null too."""
    return lambda value, path: None if value is None else inner(value, path)


def either(first: Check, second: Check, by: type) -> Check:
    """Return a check that uses ``first`` for values of the type ``by`` and ``second`` for all others."""
    return lambda value, path: first(value, path) if isinstance(value, by) else second(value, path)


def many(inner: Check, most: int, least: int = 0) -> Check:
    """Return a check for a list of ``least`` to ``most`` values."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise _wrong_type(value, path, "a list")
        if not least <= len(value) <= most:
            raise Refusal(f"{path} has {len(value)} entries; send {least} to {most}", "invalid_value", path)
        return [inner(entry, f"{path}[{i}]") for i, entry in enumerate(value)]

    return check


def record(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    """Return a check for an object with these fields and no others."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong_type(value, path, "an object")
        inside = f"{path}." if path else ""
        for name in required:
            if name not in value:
                raise Refusal(f"{inside}{name} is missing; send it", "missing_required_parameter", inside + name)
        for name in value:
            if name not in fields:
                shown = inside + str(name)[:80]
                raise Refusal(f"{shown} is not a field here; leave it out", "unknown_parameter", shown)
        return {name: fields[name](entry, inside + name) for name, entry in value.items()}

    return check


def pairs(most: int, key_length: int, value_length: int) -> Check:
    """Return a check for an object from strings to strings, such as ``metadata``."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong_type(value, path, "an object")
        if len(value) > most:
            raise Refusal(f"{path} has {len(value)} entries; send at most {most}", "invalid_value", path)
        for name, entry in value.items():
            text(key_length)(name, f"{path} (a key)")
            text(value_length)(entry, f"{path}.{name}")
        return dict(value)

    return check


def kinds(shapes: Mapping[str, Check], field: str = "type") -> Check:
    """Return a check for an object whose ``field`` says which shape it has."""

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong_type(value, path, "an object")
        inside = f"{path}.{field}" if path else field
        if field not in value:
            raise Refusal(f"{inside} is missing; send it", "missing_required_parameter", inside)
        one_of(*shapes)(value[field], inside)
        return shapes[value[field]](value, path)

    return check


def refused(what: str) -> Check:
    """Return a check for a field of the protocol that is not offered here; null passes."""

    def check(value: Any, path: str) -> Any:
        if value is not None:
            raise Refusal(f"{path} is not offered here; {what}", "not_supported", path)
        return None

    return check
