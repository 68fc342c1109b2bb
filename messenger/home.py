"""The platform's own folder (setting `home`): generated secrets and the state of `peyk serve`.

Everything in it is for the owner alone: folders 0700, files 0600.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from messenger.settings import Settings, SettingsError, load_settings

GENERATED = ("token_keys", "pepper", "badge_key")


def prepare(home: Path) -> Path:
    """The folder as an absolute path, made if absent. Raises SettingsError if we cannot write."""
    home = home.absolute()
    probe = home / f".probe-{os.getpid()}"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise SettingsError(f"home: cannot write to {home}: {error.strerror}") from None
    return home


def complete(settings: Settings) -> Settings:
    """The same settings with an absolute home, and the secrets nobody gave: made once, kept.

    Production has none to make: there a missing secret has already refused the start.
    """
    home = prepare(settings.home)
    made = {name: kept_secret(home, name) for name in GENERATED if not getattr(settings, name)}
    changes: dict[str, Any] = dict(made)
    if "token_keys" in made:
        keys = (made["token_keys"],)
        client = settings.client
        sub_token = client.sub_token
        if sub_token is None or not sub_token.keys:
            sub_token = msgspec.structs.replace(sub_token or client.token, hs256_secret=keys)
        token = msgspec.structs.replace(client.token, hs256_secret=keys)
        changes["token_keys"] = keys
        changes["client"] = msgspec.structs.replace(client, token=token, sub_token=sub_token)
    return msgspec.structs.replace(settings, home=home, **changes)


def kept_secret(home: Path, name: str) -> str:
    """256 random bits in a file of their own; the first of several processes decides."""
    path = home / "secrets" / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"{name}.{os.getpid()}")
        write_private(draft, secrets.token_urlsafe(32))
        try:
            os.link(draft, path)  # unlike a rename, never replaces what another process made
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii").strip()


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    draft.replace(path)


def ready_settings(
    config: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any]
) -> Settings:
    """`load_settings`, then `complete`: what a process that serves needs."""
    return complete(load_settings(config, environ, overrides))
