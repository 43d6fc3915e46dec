"""The published description of the protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moorage.webhook.openapi import document, rendered

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT / "docs" / "reference" / "openapi.json"
REFERENCE: dict[str, Any] = json.loads((ROOT / "tests" / "contract" / "webhooks.json").read_text())
OURS = document()
SCHEMAS: dict[str, Any] = OURS["components"]["schemas"]
OUR_ADDITIONS = {"caCertificate", "furtherMethods"}
ECHOES = {"remoteAddress", "connectionId", "clientVersion", "username"}
"""What the reference's servers say and nobody reads."""


def test_the_file_is_up_to_date() -> None:
    assert PUBLISHED.read_text() == rendered(), "run: python -m moorage.webhook.openapi > docs/reference/openapi.json"


def schema_of(path: str, part: str) -> dict[str, Any]:
    operation = OURS["paths"][path]["post"]
    content = operation["requestBody"] if part == "request" else operation["responses"]["200"]
    found: dict[str, Any] = SCHEMAS[content["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    return found


def kind_of(schema: dict[str, Any]) -> str:
    """The type of a property in the words of the extract."""
    if "additionalProperties" in schema and isinstance(schema["additionalProperties"], dict):
        value = schema["additionalProperties"]["$ref"].rpartition("/")[2]
        return f"map of {'Binary' if value == 'BinaryValue' else ''}MetadataValue"
    return str(schema.get("type", ""))


@pytest.mark.parametrize("part", ["request", "response"])
@pytest.mark.parametrize("path", ["/password", "/pubkey", "/authz", "/config"])
def test_fields_and_types_are_those_of_the_reference(path: str, part: str) -> None:
    theirs = REFERENCE[path][part]
    ours = schema_of(path, part)
    expected = {name: "object" if kind == "AppConfig" else kind for name, kind in theirs["properties"].items()}
    if part == "response":
        expected = {name: kind for name, kind in expected.items() if name not in ECHOES}
    found = {name: kind_of(schema) for name, schema in ours["properties"].items() if name not in OUR_ADDITIONS}
    assert found == expected
    if part == "request":
        assert set(ours["required"]) == set(theirs["required"])


def test_values_are_those_of_the_reference_and_bytes_are_base64() -> None:
    for ours, theirs in (("TextValue", "MetadataValue"), ("BinaryValue", "BinaryMetadataValue")):
        assert set(SCHEMAS[ours]["properties"]) == set(REFERENCE["types"][theirs]["properties"])
    # The reference's file says integers; its servers and clients speak base64.
    value = SCHEMAS["BinaryValue"]["properties"]["value"]
    assert (value["type"], value["format"]) == ("string", "byte")
