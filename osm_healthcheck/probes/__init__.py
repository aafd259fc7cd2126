"""What a probe is and what it asks: Kubernetes' types, the request, the targets. Pure."""
