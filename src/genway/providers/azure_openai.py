"""OpenAI's models at Azure: a deployment's name in the path, a version in the query, another header for the key."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from genway.providers.openai import OpenAI
from genway.providers.relaying import RelayProvider

VERSION = "2025-04-01-preview"
BY_DEPLOYMENT = frozenset(
    {"chat", "completions", "embeddings", "image_generations", "image_edits", "speech", "transcriptions", "translations"}
)


class AzureOpenAI(RelayProvider):
    """base_url: `https://RESOURCE.openai.azure.com/openai`. A model's vendor name is its deployment.

    Options: `api_version`. Source: the vendor's reference of its inference API.
    """

    name = "azure-openai"
    wire = "openai"
    families = ("gpt-*", "o1*", "o3*", "o4*", "text-embedding-*", "tts-*", "whisper-*", "dall-e-*")
    options = ("api_version",)
    paths = {kind: path for kind, path in OpenAI.paths.items() if kind not in {"moderations", "rerank", "image_variations"}}

    def path(self, kind: str, model: str) -> str | None:
        path = self.paths.get(kind)
        if path is None:
            return None
        query = {"api-version": self._version}
        if kind == "realtime":
            query["deployment"] = model
        deployment = f"/deployments/{quote(model, safe='')}" if kind in BY_DEPLOYMENT else ""
        return f"{deployment}{path}?{urlencode(query)}"

    def listing(self) -> str:
        return f"/models?{urlencode({'api-version': self._version})}"

    @property
    def _version(self) -> str:
        return self.channel.options.get("api_version", VERSION)

    def signing(self, secret: str) -> dict[str, str]:
        return {"api-key": secret}
