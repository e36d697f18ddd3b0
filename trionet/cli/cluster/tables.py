"""The tables of a TOML file that a person has written: what is wrong in one is an error with its place.

Invariant: the text of each error begins with the file, and the table and the key of the value that is wrong.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

from trionet.cli.arguments import similar_to
from trionet.errors import ConfigError
from trionet.key_texts import holds_key_text
from trionet.user_code import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["TOMLTable", "read_toml"]

_MAX_FILE_BYTES: Final = 1 << 20
_BARE: Final = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")


def read_toml(path: Path) -> TOMLTable:
    """Return the whole of a TOML file.

    Raises:
        ConfigError: it can't be read, or is no TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise ConfigError(f"{path}: a cluster file has at most {_MAX_FILE_BYTES:,} bytes; this one has more")
        text = data.decode("utf-8-sig")
        if holds_key_text(text):
            raise ConfigError(
                f"{path}: holds a key, and others may read it: give the path of the key's file in key_file"
            )
        return TOMLTable(str(path), "", tomllib.loads(text))
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: byte {exc.start} is no UTF-8: save the file as UTF-8") from exc
    except RecursionError:
        raise ConfigError(f"{path}: its values are nested too deep") from None
    except ValueError as exc:  # a NUL in the path; no TOML; a number of too many digits
        raise ConfigError(f"{path}: {exc}") from exc


class TOMLTable:
    """A table whose values are taken by key and type.

    Attributes:
        values: its values by key.
    """

    def __init__(self, file: str, name: str, values: object) -> None:
        """Be the table `name` of `file`; raise a `ConfigError` if `values` are no table."""
        self._file, self._name = file, name
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: {name}: expected a table, [{name}], not {shown(values)}")
        self.values: dict[str, Any] = values

    def __contains__(self, key: str) -> bool:
        return key in self.values

    @property
    def place(self) -> str:
        """The file and the table, for errors."""
        return f"{self._file}: [{self._name}]" if self._name else self._file

    def error(self, key: str, text: str) -> ConfigError:
        """Return the error that says `text` of a key."""
        return ConfigError(f"{self._file}: {self._path(key)}: {text}")

    def table(self, key: str) -> TOMLTable:
        """Return a table within this one; an empty one without it."""
        return TOMLTable(self._file, self._path(key), self.values.get(key, {}))

    def text(self, key: str) -> str | None:
        """Return a text, which is not empty; None without one."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.error(key, f"expected a text, not {shown(value)}")
        return value

    def choice(self, key: str, choices: Iterable[str]) -> str | None:
        """Return a text that is one of `choices`; None without one."""
        text, choices = self.text(key), list(choices)
        if text is not None and text not in choices:
            *others, last = choices
            raise self.error(key, f"{', '.join(others)} or {last}, not {shown(text)}{similar_to(text, choices)}")
        return text

    def whole(self, key: str, least: int, most: int) -> int | None:
        """Return a whole number from `least` to `most`; None without one."""
        value = self.values.get(key)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise self.error(key, f"a whole number from {least} to {most:,}, not {shown(value)}")
        return value

    def flag(self, key: str) -> bool | None:
        """Return true or false; None without."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, f"true or false, not {shown(value)}")
        return value

    def words(self, key: str) -> list[str] | None:
        """Return a list of texts; None without one."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            raise self.error(key, f"a list of words, as {value.split()[:4]}, not the text {shown(value)}")
        if not isinstance(value, list):
            raise self.error(key, f"a list of words, not {shown(value)}")
        for word in value:
            if not isinstance(word, str) or "\0" in word:
                raise self.error(key, f"a list of words, and {shown(word)} is no word")
        return list(value)

    def texts(self, key: str) -> dict[str, str]:
        """Return a table of texts; an empty one without it."""
        table = self.table(key)
        for name, value in table.values.items():
            if not isinstance(value, str) or "\0" in value:
                raise table.error(name, f"expected a text, not {shown(value)}")
        return dict(table.values)

    def check_known(self, known: Iterable[str], other_words: Mapping[str, str]) -> None:
        """Raise a `ConfigError` for a key that is not in `known`, with the nearest one.

        Args:
            known: the keys that this table may have.
            other_words: keys by words that people use for them.
        """
        known = list(known)
        for key in self.values:
            if key not in known:
                other = other_words.get(key)
                hint = f"; did you mean {other}?" if other in known else similar_to(key, known)
                raise self.error(key, f"there is no such key{hint or '; there are ' + ', '.join(sorted(known))}")

    def _path(self, key: str) -> str:
        shown_key = key if _BARE.match(key) else shown(key)  # both as TOML has them
        return f"{self._name}.{shown_key}" if self._name else shown_key
