"""The competitors and the apps they ask: each a program of its own, ``python -m`` its module."""
