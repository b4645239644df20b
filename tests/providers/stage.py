"""What the tests of providers share: the files that operations name, and how the fixtures are called."""

from __future__ import annotations

from collections.abc import Callable

from genway.operations import MediaRef
from genway.providers.base import Provider, Submission

Make = Callable[..., Provider]
HandedIn = Callable[..., Submission]

PHOTO = MediaRef(url="https://example.com/photo.jpg")
END = MediaRef(url="https://example.com/end.jpg")
CLIP = MediaRef(url="https://example.com/clip.mp4")
OURS = MediaRef(media_id="med_1")
