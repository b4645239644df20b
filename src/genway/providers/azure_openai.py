"""OpenAI's models at Azure: a deployment's name in the path, a version in the query, another header for the key."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

import aiohttp

from genway.providers.base import ChannelSettings
from genway.providers.openai import OpenAI
from genway.providers.relaying import RelayProvider

VERSION = "2025-04-01-preview"
BY_DEPLOYMENT = frozenset(
    {"chat", "completions", "embeddings", "image_generations", "image_edits", "speech", "transcriptions", "translations"}
)


class AzureOpenAI(RelayProvider):
    """base_url: `https://RESOURCE.openai.azure.com`, with or without `/openai`; with `/openai/v1` it is the newer API, with
    the model in the body and no need of a version. A model's vendor name is its deployment.

    Options: `api_version`. Source: the vendor's reference of its inference API.
    """

    name = "azure-openai"
    wire = "openai"
    families = ("gpt-*", "o1*", "o3*", "o4*", "text-embedding-*", "tts-*", "whisper-*", "dall-e-*")
    options = ("api_version",)
    ending = "/openai"
    paths = {kind: path for kind, path in OpenAI.paths.items() if kind not in {"moderations", "rerank", "image_variations"}}

    def __init__(self, channel: ChannelSettings, http: aiohttp.ClientSession) -> None:
        super().__init__(channel, http)
        if not urlsplit(self.address).path:  # as the vendor's console and its SDKs have it
            self.address += self.ending
        self._newer = self.address.endswith("/v1")

    def path(self, kind: str, model: str) -> str | None:
        path = self.paths.get(kind)
        if path is None:
            return None
        query = self._version
        if kind == "realtime" and not self._newer:
            query["deployment"] = model
        deployment = f"/deployments/{quote(model, safe='')}" if kind in BY_DEPLOYMENT and not self._newer else ""
        return f"{deployment}{path}{'?' if query else ''}{urlencode(query)}"

    def listing(self) -> str:
        return f"/models{'?' if self._version else ''}{urlencode(self._version)}"

    @property
    def _version(self) -> dict[str, str]:
        version = self.channel.options.get("api_version", "" if self._newer else VERSION)
        return {"api-version": version} if version else {}

    def signing(self, secret: str) -> dict[str, str]:
        return {"api-key": secret}
