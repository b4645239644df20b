"""The built-in renderer: pictures into video without a key, a network or a graphics card."""

from genway.providers.local.provider import LocalProvider

__all__ = ["LocalProvider"]
