"""The hot path: calls that are answered at once are sent on to a channel and their answers sent back, metered.

No task, no queue, no framework. `relay.py` leads a call through; `kinds.py` says what calls there are.
"""
