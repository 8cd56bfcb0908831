"""The JSON Schema of a configuration, for editors that complete and check while a person types."""

from __future__ import annotations

from typing import Any

from raypipe.config.model import PipelineSection


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a pipeline's YAML file, with `profiles`."""
    schema = PipelineSection.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "raypipe pipeline"
    schema["properties"]["profiles"] = {
        "type": "object",
        "description": "What --profile NAME merges over the rest; lists are replaced",
        "additionalProperties": {"type": "object", "propertyNames": {"enum": [*PipelineSection.model_fields]}},
        "examples": [{"prod": {"destination": {"path": "/srv/flights.duckdb"}}}],
    }
    without_titles: dict[str, Any] = _without_generated_titles(schema)
    return without_titles


def _without_generated_titles(value: Any) -> Any:
    """Take away the titles that pydantic makes of names: they repeat the key and hide the description in editors."""
    if isinstance(value, list):
        return [_without_generated_titles(one) for one in value]
    if not isinstance(value, dict):
        return value
    is_property = "title" in value and isinstance(value["title"], str) and value["title"] != "raypipe pipeline"
    return {key: _without_generated_titles(one) for key, one in value.items() if not (is_property and key == "title")}
