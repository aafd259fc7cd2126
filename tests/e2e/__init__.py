"""Against a real Kubernetes: an API server, and a node with containerd and the kubelet."""
