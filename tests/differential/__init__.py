"""Our prober against Kubernetes' own: ``python -m tests.differential``.

The same app is asked by both, and what they conclude, say and send is compared. Kubernetes'
``pkg/probe`` runs as a Go program (``prober/``); the apps are real sockets that serve raw bytes.
With ``--sidecar`` it is Kubernetes' prober twice, directly and through the sidecar.
"""
