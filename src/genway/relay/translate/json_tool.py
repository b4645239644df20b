"""Structured output for models that have none: a tool that the model has to call, whose input is the answer.

The tool's name tells its call from a real one, so that an answer can be turned back without knowing the request.
"""

from __future__ import annotations

from typing import Any

NAME = "genway_answer_in_json"


def definition(schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": NAME, "description": "Give the final answer by calling this.", "input_schema": schema}
