"""What commands read of a cluster, by the Kubernetes client; loaded for them only."""
