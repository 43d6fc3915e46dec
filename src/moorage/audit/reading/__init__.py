"""Recordings read again: listed, shown, played, searched, exported, verified and counted.

Everything here takes recordings for hostile: what is broken is told with its offset, what can be read is read, and
nothing that a recording holds reaches a terminal unless it is played there on purpose.
"""
