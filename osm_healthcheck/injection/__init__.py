"""What happens to a manifest: probes rewritten, containers added, and undone. Pure."""
