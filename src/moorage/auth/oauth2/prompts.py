"""What the user reads.  Pure.

Clients differ.  OpenSSH logs an instruction, which cuts it at 1,024 bytes and escapes all that is not ASCII, but it
goes on at once where nothing is asked; questions it shows whole.  PuTTY shows both; others show questions alone.
So whatever is long, or has to be answered, stands in the question.
"""

from __future__ import annotations

import io
import re
from typing import Final

from moorage.auth.oauth2.contract import DeviceGrant
from moorage.gateway.model import Attempt, Prompt, Round

_SHOWS_INSTRUCTIONS: Final = re.compile(r"^SSH-2\.0-OpenSSH")
_LONGEST_INSTRUCTION: Final = 900


def device(attempt: Attempt, grant: DeviceGrant, *, with_qr: bool) -> Round:
    """The link and the code of a device flow."""
    body = (
        f"Please open this link to log in:\n\n{grant.uri}\n\n"
        f"and enter this code if you are asked for one: {grant.user_code}\n\n"
        "Only do so if you have started this login yourself.\n"
    )
    if with_qr:
        body += f"\n{qr_code(grant.uri)}\n"
    elif _SHOWS_INSTRUCTIONS.match(attempt.client_version) and len(body.encode()) <= _LONGEST_INSTRUCTION:
        return Round(attempt.username, body)
    return Round(prompts=(Prompt(f"{body}\nPress Enter when you are done: ", echo=True),))


def code(link: str, *, with_qr: bool) -> Round:
    """The link of an authorization code flow, and the question for what comes back."""
    body = f"Please open this link to log in:\n\n{link}\n\n"
    if with_qr:
        body += f"{qr_code(link)}\n\n"
    return Round(prompts=(Prompt(f"{body}Paste the code that you are shown there: "),))


def closing(line: str, attempt: Attempt) -> Round:
    """Why there is no login, with what an operator finds in the log; asks nothing."""
    return Round("", f"{line} (reference {attempt.connection_id[:12]})\n", ())


def qr_code(link: str) -> str:
    """`link` for a telephone's camera, in half blocks."""
    import segno

    drawn = io.StringIO()
    segno.make(link, micro=False, error="l").terminal(out=drawn, compact=True, border=2)
    return re.sub("\x1b\\[[0-9;]*m", "", drawn.getvalue()).rstrip("\n")
