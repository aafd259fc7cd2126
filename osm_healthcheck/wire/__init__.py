"""How to ask an app: dial, HTTP/1.1, TLS, HTTP/2 and gRPC health."""
