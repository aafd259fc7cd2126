"""What listens on 15901-15904 for a pod and answers the kubelet."""
