"""A pod and its node, made of network namespaces."""
