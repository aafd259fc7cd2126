"""The injector: `inject` as an admission webhook of the API server, and its own health."""
