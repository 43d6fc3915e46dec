"""``auth.honeypot``: strangers are let in by rules, to see what they do."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

from moorage.config.disk import Disk
from moorage.config.section import AtLeast, Duration, Finding, KeepsZero, Section, Within


class HoneypotConfig(Section):
    """Whom the method `honeypot` lets in: nobody is known, and who fits a pattern gets in. An addition."""

    accept: tuple[str, ...] = ("*:*",)
    """Names and passwords that get in, as patterns `USER:PASSWORD` with `*` and `?`."""

    refuse: tuple[str, ...] = ()
    """Patterns that never get in, whatever `accept` says: `root:root`."""

    accept_file: str = ""
    """A file with further lines `USER:PASSWORD`, to be taken as they are."""

    from_try: Annotated[int, AtLeast(1), Within(1, 1000)] = 1
    """Which try of a source is the first that can get in. What has let a source in lets it in again at once."""

    accept_keys: bool = False
    """Whether every public key gets in too; otherwise keys are noted and refused."""

    delay: Annotated[Duration, AtLeast(timedelta(0)), KeepsZero()] = timedelta(milliseconds=200)
    """How long an answer takes at least, as on a busy machine."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        for name in ("accept", "refuse"):
            for index, pattern in enumerate(getattr(self, name)):
                if ":" not in pattern:
                    yield Finding((name, index), "is no pattern USER:PASSWORD", "write root:* or *:123456")
        if self.accept_file and (wrong := disk.file(self.accept_file)):
            yield Finding(("acceptFile",), wrong)
