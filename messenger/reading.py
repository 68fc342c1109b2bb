"""Reads a frozen struct from file, environment and command line, and says where each value is from.

Every value is checked against its type by itself, so that a refusal names the one source and the
one name the operator has to look at.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

PREFIX = "PEYK_"
BARE = frozenset({"DATABASE_URL", "REDIS_URL"})  # the names every host gives these two
CONFIG = "PEYK_CONFIG"
COMMIT = "PEYK_COMMIT"  # of the build, set in container images; shown by metrics only


class SettingsError(Exception):
    """The start is refused; the text is one line that names the setting."""


class Gathered(Struct, frozen=True):
    """Values that differ from the defaults, and for each the source it came from."""

    values: dict[str, Any]
    sources: dict[str, str]


def gather(
    declared: type[Struct],
    config: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any],
) -> Gathered:
    """All values that are set; later sources win: file, environment, command line."""
    hints = get_type_hints(declared, include_extras=True)
    gathered = Gathered({}, {})
    if config is None and environ.get(CONFIG):
        config = Path(environ[CONFIG])
    if config is not None:
        for name, value in _toml(config).items():
            _take(gathered, hints, name, value, str(config), strict=True)
    for variable, text in sorted(environ.items()):
        if (
            variable in BARE
            or (variable.startswith(PREFIX) and variable not in (CONFIG, COMMIT))
            or variable.removesuffix("_FILE") in BARE
        ):
            _take_variable(gathered, hints, variable, text)
    for name, value in overrides.items():
        if value is not None:
            given = str(value) if isinstance(value, Path) else value
            _take(gathered, hints, name, given, "command line", strict=False)
    return gathered


def is_secret(hint: Any) -> bool:
    """Never to be printed, and allowed to come from a file of its own."""
    return any(
        isinstance(note, msgspec.Meta) and bool((note.extra or {}).get("secret"))
        for note in get_args(hint)[1:]
    )


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from None


def _take_variable(gathered: Gathered, hints: Mapping[str, Any], variable: str, text: str) -> None:
    name = variable.removeprefix(PREFIX).lower()
    if name not in hints and name.endswith("_file"):
        name = name.removesuffix("_file")
        if not is_secret(hints.get(name)):
            raise SettingsError(f"{variable}: unknown setting")
        if gathered.sources.get(name, "").startswith("environment"):
            raise SettingsError(f"{variable}: {variable.removesuffix('_FILE')} is set too")
        try:
            text = Path(text).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable}: cannot read {text}: {error}") from None
    elif name not in hints or _is_section(hints[name]):
        raise SettingsError(f"{variable}: unknown setting")
    if not text and not variable.startswith(PREFIX):
        return  # an empty DATABASE_URL is how shells and compose files say "none"
    value: Any = text
    if _is_list(hints[name]):
        value = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    _take(gathered, hints, name, value, f"environment {variable}", strict=False)


def _take(
    gathered: Gathered,
    hints: Mapping[str, Any],
    name: str,
    value: Any,
    source: str,
    *,
    strict: bool,
) -> None:
    if name not in hints:
        raise SettingsError(f"{source}: unknown setting {name}")
    try:
        gathered.values[name] = msgspec.convert(
            value, hints[name], strict=strict, dec_hook=_path, str_keys=True
        )
    except msgspec.ValidationError as error:
        reason = str(error).replace(" - at `$", f" - at `{name}")
        raise SettingsError(f"{source}: {name}: {reason}") from None
    gathered.sources[name] = source


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError("Expected a path")


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def _is_list(hint: Any) -> bool:
    return get_origin(_bare(hint)) is tuple


def _is_section(hint: Any) -> bool:
    kind = _bare(hint)
    return (isinstance(kind, type) and issubclass(kind, Struct)) or get_origin(kind) is dict
