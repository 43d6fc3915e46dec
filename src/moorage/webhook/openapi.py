"""The webhook protocol as an OpenAPI 3.1 document, made from the models.

``python -m moorage.webhook.openapi > docs/reference/openapi.json`` writes the published one.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from moorage.webhook.hooks import HOOKS, Hook
from moorage.webhook.models import Accepted

_REFERENCE: Final = "#/components/schemas/{model}"
_ALWAYS_SENT: Final = {"remoteAddress", "connectionId", "username", "passwordBase64", "publicKey", "otp"}
_STATUSES: Final = {
    "400": "The request is not what this hook takes.",
    "401": "The request is not signed with the shared secret.",
    "404": "The server does not offer the hook.",
    "405": "The method is not POST.",
    "413": "The request is too large.",
    "500": "The hook has failed. The SSH server asks again for a while and lets nobody in meanwhile.",
}


def document() -> dict[str, Any]:
    """The document; the same for the same models."""
    models = [(hook.request, "validation") for hook in HOOKS.values()] + [
        (model, "serialization") for model in dict.fromkeys(hook.answer for hook in HOOKS.values())
    ]
    _, made = models_json_schema(models, ref_template=_REFERENCE)  # type: ignore[arg-type]
    schemas: dict[str, Any] = made["$defs"]
    accepted = schemas.pop("Accepted")
    accepted["properties"] = {"success": {"type": "boolean", "title": "Success"}, **accepted["properties"]}
    accepted |= {"title": "Decision", "required": ["success"], "description": "Whether the login may go on."}
    accepted["properties"]["success"]["description"] = "True lets the login go on. Anything else refuses it."
    schemas["Decision"] = accepted
    for hook in HOOKS.values():
        schema = schemas[hook.request.__name__]
        schema["required"] = [name for name in schema["properties"] if name in _ALWAYS_SENT]
    schemas["Error"] = {
        "title": "Error",
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string"}},
    }
    for name in ("Decision", "Configuration"):
        # Callers ignore what they do not know, and so may servers of other makes say more.
        schemas[name].pop("additionalProperties", None)
        schemas[name]["required"] = ["success"] if name == "Decision" else []
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Webhooks of an SSH server",
            "description": "What Moorage asks authentication and configuration servers.",
            "version": "0.6",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {f"/{hook.name}": {"post": _operation(hook)} for hook in HOOKS.values()},
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _operation(hook: Hook) -> dict[str, Any]:
    answer = "Decision" if hook.answer is Accepted else hook.answer.__name__
    responses = {"200": _content("The answer.", answer)}
    responses |= {status: _content(text, "Error") for status, text in _STATUSES.items()}
    return {
        "operationId": hook.method,
        "summary": (hook.request.__doc__ or "").partition(".")[0],
        "requestBody": {"required": True, **_content("", hook.request.__name__)},
        "responses": responses,
    }


def _content(description: str, model: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(model=model)}
    content: dict[str, Any] = {"content": {"application/json": {"schema": schema}}}
    return {"description": description, **content} if description else content


def rendered() -> str:
    """The document as the file has it."""
    return json.dumps(document(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(rendered())
