"""Injection into a manifest and its undoing: probes rewritten, containers added. No I/O."""
