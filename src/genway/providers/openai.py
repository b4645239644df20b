"""OpenAI, and whoever speaks its format at another address: vLLM, Ollama, DeepSeek, another gateway."""

from __future__ import annotations

from genway.providers.relaying import RelayProvider


class OpenAI(RelayProvider):
    """Source: the vendor's OpenAPI file of 2026-08; `/rerank` is what compatible servers added."""

    name = "openai"
    base_url = "https://api.openai.com/v1"
    wire = "openai"
    families = ("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "text-embedding-*", "omni-moderation-*", "text-moderation-*",
                "tts-*", "whisper-*", "dall-e-*", "davinci-*", "babbage-*", "codex-*", "computer-use-*")  # fmt: skip
    options = ("organization", "project")
    paths = {
        "chat": "/chat/completions",
        "completions": "/completions",
        "responses": "/responses",
        "conversations": "/conversations",
        "embeddings": "/embeddings",
        "moderations": "/moderations",
        "rerank": "/rerank",
        "image_generations": "/images/generations",
        "image_edits": "/images/edits",
        "image_variations": "/images/variations",
        "speech": "/audio/speech",
        "transcriptions": "/audio/transcriptions",
        "translations": "/audio/translations",
        "files": "/files",
        "batches": "/batches",
        "realtime": "/realtime",
    }

    def signing(self, secret: str) -> dict[str, str]:
        signed = super().signing(secret)
        for option, header in (("organization", "openai-organization"), ("project", "openai-project")):
            if value := self.channel.options.get(option):
                signed[header] = value
        return signed
