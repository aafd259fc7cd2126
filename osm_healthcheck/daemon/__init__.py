"""The sidecar: what listens on 15901-15904 and answers the kubelet."""
