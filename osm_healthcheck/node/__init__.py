"""Node mode: one process a node answers every pod's probes, inside the pod's network namespace."""
