"""One self-hosted gateway in front of every generator of text, images, music and video."""
