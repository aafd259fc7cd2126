"""A probe asked directly and through a sidecar, and why the verdicts are what they are."""
