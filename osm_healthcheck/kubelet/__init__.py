"""The kubelet's prober, run locally: what it would make of a probe, without a cluster."""
