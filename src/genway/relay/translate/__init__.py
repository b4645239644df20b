"""Between the chat completions format and the messages format, both ways.

`chat_to_messages` serves a client that speaks chat completions in front of an upstream that speaks messages;
`messages_to_chat` is the reverse. Each has `request`, `answer`, `error` and `Stream`. `traits` says what a model takes.
What is mapped and what is lost is in `docs/translation.md`.
"""
