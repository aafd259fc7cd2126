"""Manifests as text: documents in files and streams, read and changed in place."""
