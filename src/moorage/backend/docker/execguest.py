"""x"""

from typing import Any


async def open_exec_guest(*a: Any, **k: Any) -> Any: ...
