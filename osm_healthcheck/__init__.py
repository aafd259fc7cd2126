"""Kubernetes health probes that tell the truth inside a service mesh."""

__version__ = "2.0.0"
