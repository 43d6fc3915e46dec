"""``geoip``: the country of an address."""

from collections.abc import Iterator
from typing import Annotated

from moorage.config.disk import Disk
from moorage.config.section import Finding, OneOf, Section


class GeoIPConfig(Section):
    """Where the country of an address comes from."""

    provider: Annotated[str, OneOf(("dummy", "maxmind"), "provider")] = "dummy"
    """`dummy` (always XX), or `maxmind`: a database in that format, read again on HUP."""

    maxmind_geoip2_file: str = "/var/lib/GeoIP/GeoIP2-Country.mmdb"
    """A Country, City or Enterprise database of MaxMind, or another with the record `country.iso_code`."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if self.provider == "maxmind" and (wrong := disk.file(self.maxmind_geoip2_file)):
            yield Finding(("maxmind-geoip2-file",), wrong)
