"""What is found out about a pod from its manifest, its status and its events. Pure."""
