"""The country of an address, from a database in MaxMind's format.

Country, City and Enterprise files of MaxMind do, and those of others that have the record ``country`` with
an ``iso_code``.  The file is opened once, mapped into memory, and again by `Countries.reopen`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import structlog

from moorage.codes import Code
from moorage.errors import ConfigError
from moorage.metrics import UNKNOWN_COUNTRY, Country, no_country

if TYPE_CHECKING:
    from maxminddb import Reader

    from moorage.config.sections.geoip import GeoIPConfig

_ISO_CODE: Final = re.compile(r"[A-Z]{2}")


class Countries:
    """A database; called with an address it gives the ISO code of the country, or `UNKNOWN_COUNTRY`.  Never raises."""

    def __init__(self, path: str) -> None:
        """Open `path`; raises `ConfigError` if it is no such database."""
        self._path = path
        self._reader = self._opened()

    def __call__(self, host: str) -> str:
        try:
            record = self._reader.get(host)
        except Exception:  # noqa: BLE001 - an address of another family, no address at all, a file broken inside
            return UNKNOWN_COUNTRY
        country = record.get("country") if isinstance(record, dict) else None
        code = country.get("iso_code") if isinstance(country, dict) else None
        return code if isinstance(code, str) and _ISO_CODE.fullmatch(code) else UNKNOWN_COUNTRY

    def reopen(self) -> None:
        """Take the file that is there now; one that cannot be used is logged, and the old one stays in use."""
        try:
            reader = self._opened()
        except ConfigError as error:
            structlog.get_logger().error(f"The country database stays as it was: {error}", code=error.code)
            return
        old, self._reader = self._reader, reader
        old.close()

    def close(self) -> None:
        """Let go of the file; every country is unknown from now on.  Idempotent."""
        self._reader.close()

    def _opened(self) -> Reader:
        import maxminddb

        try:
            return maxminddb.open_database(self._path)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise ConfigError(
                f"geoip.maxmind-geoip2-file: {self._path} is no MaxMind database: {error}", code=Code.CORE_CONFIG_ERROR
            ) from error


def countries(config: GeoIPConfig) -> Country:
    """The countries that `config` asks for; raises `ConfigError` if its database cannot be used."""
    return Countries(config.maxmind_geoip2_file) if config.provider == "maxmind" else no_country
