"""What a program does with LangChain for each of the targets in $TARGETS. Prints as JSON what it saw there, or its error."""

# LangChain is not among this project's packages: the test runs this in an environment of its own.
# mypy: ignore-errors
from __future__ import annotations

import json
import os
import traceback

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather now."""
    return f"rain in {city}"


def model_of(target):
    if target["client"] == "openai":
        return ChatOpenAI(model=target["model"], api_key=target["key"], base_url=f"{target['url']}/v1", max_retries=0)
    return ChatAnthropic(model=target["model"], api_key=target["key"], base_url=target["url"], max_tokens=200, max_retries=0)


def said(message):
    return message.content if isinstance(message.content, str) else "".join(part.get("text", "") for part in message.content)


def see(target):
    model = model_of(target)
    seen = {}
    answer = model.invoke([SystemMessage("Be brief."), HumanMessage("one 🌍")])
    seen["said"], seen["tokens"] = said(answer), answer.usage_metadata["output_tokens"]
    chunks = list(model.stream("one 🌍"))
    seen["streamed"], seen["chunks"] = "".join(said(chunk) for chunk in chunks), len(chunks)
    bound = model.bind_tools([get_weather])
    asked = HumanMessage(os.environ["TWO_CITIES"])
    called = bound.invoke([asked])
    results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in called.tool_calls]
    seen["tools"] = [call["args"]["city"] for call in called.tool_calls]
    seen["results"] = said(bound.invoke([asked, called, *results]))
    gathered = None
    for chunk in bound.stream([asked]):
        gathered = chunk if gathered is None else gathered + chunk
    seen["streamedTools"] = [call["args"]["city"] for call in gathered.tool_calls]
    wanted = '{"name": "Ada", "age": 36}'
    for method in ("function_calling", "json_schema"):
        seen[method] = model.with_structured_output(Person, method=method).invoke(wanted).model_dump()
    picture = {"type": "image_url", "image_url": {"url": os.environ["PICTURE"]}}
    seen["pictured"] = said(model.invoke([HumanMessage([{"type": "text", "text": "look"}, picture])]))
    if target["client"] == target["wire"] == "openai":
        embeddings = OpenAIEmbeddings(
            model="text-embedding-3-small",
            api_key=target["key"],
            base_url=f"{target['url']}/v1",
            dimensions=8,
            check_embedding_ctx_length=False,
        )
        seen["embedded"] = len(embeddings.embed_query("one"))
    try:
        model_of(target | {"model": f"{target['model']}-of-nobody"}).invoke("one")
    except Exception as error:
        seen["missing"] = [type(error).__name__, getattr(error, "status_code", None)]
    return seen


told = {}
for each in json.loads(os.environ["TARGETS"]):
    try:
        told[each["name"]] = see(each)
    except Exception:
        told[each["name"]] = {"error": traceback.format_exc()[-2000:]}
print(json.dumps(told))
