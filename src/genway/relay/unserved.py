"""What the SDKs can ask for and nobody answers here: a refusal in the client's own format that says what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from genway.errors import NotFound
from genway.relay.desk import Answerer, Inquiry, Routes, Told

_OPERATORS: Final = "made by the operator at the vendor, who says on the channel which of them may be named"
_RESPONSES: Final = "use POST /v1/responses, and go on with previous_response_id"

PLACES: Final[Mapping[str, str]] = {
    "chat/completions/{rest+}": "stored chats are not kept on record here; responses are: POST /v1/responses",
    "uploads": "files are not taken in parts here; send the whole file to POST /v1/files",
    "assistants": f"assistants are not relayed here; {_RESPONSES}",
    "threads": f"threads are not relayed here; {_RESPONSES}",
    "vector_stores": f"vector stores are {_OPERATORS}",
    "skills": f"skills are {_OPERATORS}",
    "audio/voices": f"voices of one's own are {_OPERATORS}",
    "audio/voice_consents": f"voices of one's own are {_OPERATORS}",
    "containers": "containers are not managed here; the tools that need one make it: {'container': {'type': 'auto'}}",
    "deployments/{rest+}": "Azure's paths are for Azure; use the client for OpenAI with a base address that ends in /v1",
    "live": "live sessions are not relayed here; connect with a WebSocket to /v1/realtime",
    "fine_tuning": "fine-tuning is the operator's work, at the vendor",
    "evals": "evaluations are the operator's work, at the vendor",
    "organization": "the vendor's account is administered by the operator, at the vendor",
    "organizations": "the vendor's account is administered by the operator, at the vendor",
    "agents": "agents are not relayed here; call a model with tools and run them in the program",
    "complete": "the text completions of old are not relayed here; use POST /v1/messages",
}
"""Path after `/v1` → what to do instead. What lies below a path is answered alike."""

routes = Routes()


def _refusing(advice: str) -> Answerer:
    async def refuse(inquiry: Inquiry, rest: str = "") -> Told:
        raise NotFound(advice)

    return refuse


for _path, _advice in PLACES.items():
    _paths = (f"/{_path}",) if _path.endswith("}") else (f"/{_path}", f"/{_path}/{{rest+}}")
    for _method in ("GET", "POST", "DELETE"):
        routes.on(_method, *_paths)(_refusing(_advice))
