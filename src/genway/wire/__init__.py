"""HTTP/1.1 at the level of bytes: the server that takes requests, and the pool that sends them on.

Both are protocols of the event loop on llhttp's parser, with nothing in between: relaying a call costs a few dozen
microseconds here, where every layer of a framework costs as much again. Everything else runs behind `asgi.py`.
"""
