"""Servers that stand in for those outside: real sockets, scriptable faults."""
