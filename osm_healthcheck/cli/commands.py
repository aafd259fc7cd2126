"""The commands, and what each is for."""

# Each is a module of this package with ``run(argv) -> exit code``, loaded when it is asked for.
COMMANDS = {
    "serve": "the sidecar: answer probes on 15901-15904 (the default)",
    "inject": "rewrite the probes in manifests, and add what answers them",
    "uninject": "give back the manifests that were injected",
    "verify": "what is wrong with the probes of a meshed pod",
    "render": "the configuration of a mesh's proxy that serves a pod's probes",
    "probe": "run a manifest's probes against an app here, as the kubelet would",
    "diagnose": "ask each probe directly and through the sidecar, and compare",
    "check": "probe one address once, as the kubelet would",
    "injector": "inject pods as the API server creates them (in a cluster)",
    "node": "answer the probes of every pod of this node (in a cluster)",
    "node-sockets": "the part of node that needs rights, in a process of its own",
    "demo": "watch an app fail and recover, with no cluster",
    "completion": "the script by which bash, zsh or fish completes all of this",
}
OTHERS = {
    "version": "which version this is; with -o json Python's, too",
    "help": "this text; help COMMAND, or COMMAND --help: the options of a command",
}


def module_of(command: str) -> str:
    """The module of a command, which has ``run(argv) -> exit code``."""
    return f"osm_healthcheck.cli.{command.replace('-', '_')}"
