"""Whose settings are in a store: code is imported only for settings that this user has run, or vouches for.

run:                  settings --seal, with a key that only this user can read--> the store
report, retrain, ...: settings in the store, seal --is_own--> import the builder, or refuse

A store names the module and the folder of its builder. In a store of someone else these could be any module and any folder,
so the seal is a message authentication code (HMAC, RFC 2104), which nobody can make without the key.
"""

import hmac
import os
import secrets
from pathlib import Path

from search.command.settings import Settings


def seal(settings: Settings) -> str:
    """Return the seal of this user for some settings. It is empty if no key can be kept here."""
    key = _key(make=True)
    return _code(key, settings) if key else ""


def is_own(settings: Settings, given: str) -> bool:
    """Whether a seal was made by this user for these settings."""
    key = _key(make=False)
    return bool(key) and hmac.compare_digest(_code(key, settings).encode(), given.encode())


def _code(key: bytes, settings: Settings) -> str:
    return hmac.new(key, f"{settings.folder}\n{settings.text}".encode(), "sha256").hexdigest()


def _key(make: bool) -> bytes:
    """Return the key of this user. It is empty if there is none, or none can be made."""
    try:
        path = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state", "tinygrad-lab", "key")
        if make and not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(secrets.token_bytes(32))
        return path.read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        return b""
