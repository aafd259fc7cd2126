"""What the commands that read a cluster have in common on the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from osm_healthcheck.cli.sources import EXTENSIONS, STDIN
from osm_healthcheck.cluster.resources import is_named_object, named_objects, resource_named
from osm_healthcheck.cluster.selection import Selection


def add_cluster_options(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """Let ``parser`` take kubectl's options; those that choose among ``many`` pods, too."""
    group = parser.add_argument_group("of a cluster, as kubectl has them")
    add = group.add_argument
    add("-n", "--namespace", default="", metavar="NAME", help="default: the context's")
    if many:
        add("-A", "--all-namespaces", action="store_true", help="every pod of the cluster")
        add("-l", "--selector", default="", metavar="LABELS", help="pods with them, as app=web")
    add("--context", default="", metavar="NAME", help="of the kubeconfig; default: its current one")
    add("--kubeconfig", default="", metavar="FILE", help="default: KUBECONFIG, ~/.kube/config")


def names_a_cluster(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    arguments: Sequence[str],
    files: Sequence[str] = (),
) -> bool:
    """Whether a cluster is to be read: by an option of it, or by an argument that is no file.

    ``files`` are files whatever they are called. Files and a cluster, or objects of it, at the
    same time end the process by ``parser.error``.
    """
    if arguments and not _is_file(arguments[0]) and resource_named(arguments[0]):
        # KIND [NAME ...]: a folder may well have the name of an app
        others = [one for one in arguments[1:] if _is_manifest(one) and Path(one).exists()]
        objects = list(arguments)
    else:
        objects = [one for one in arguments if not _is_file(one) and is_named_object(one)]
        others = [one for one in arguments if one not in objects]
    others += files
    if option := _option_given(options):
        if STDIN in others:
            parser.error("either the standard input or a cluster")
        if file := next((one for one in others if one in files or _is_file(one)), ""):
            parser.error(f"either files, as {file}, or a cluster, as {option} says: leave one out")
        return True
    if objects and others:
        parser.error(f"either objects of a cluster, as {objects[0]}, or files, as {others[0]}")
    return bool(objects)


def read_selection(
    parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: Sequence[str]
) -> Selection:
    """Which pods are wanted; what cannot be ends the process by ``parser.error``."""
    try:
        objects = tuple(named_objects(arguments))
    except ValueError as error:
        parser.error(str(error))
    everywhere = getattr(options, "all_namespaces", False)
    selector = getattr(options, "selector", "")
    if everywhere and options.namespace:
        parser.error("-A is every namespace, -n is one")
    named = next((name for _, name in objects if name), "")
    if named and (everywhere or selector):
        parser.error(f"{named} is named: leave {'-A' if everywhere else '-l'} out")
    return Selection(objects, options.namespace, everywhere, selector)


def is_a_person_asking() -> bool:
    """Whether nothing is piped into the command."""
    return sys.stdin.isatty()


def _option_given(options: argparse.Namespace) -> str:
    """An option that only a cluster has a use for; empty where there is none."""
    given = {
        "-n": options.namespace,
        "--context": options.context,
        "--kubeconfig": options.kubeconfig,
        "-A": getattr(options, "all_namespaces", False),
        "-l": getattr(options, "selector", ""),
    }
    return next((option for option, value in given.items() if value), "")


def _is_file(argument: str) -> bool:
    """Whether ``argument`` is a file, or is called like one: a missing file is no object."""
    # os.path: where a folder above may not be looked into, a Path raises an error
    return argument == STDIN or _is_manifest(argument) or os.path.exists(argument)  # noqa: PTH110


def _is_manifest(argument: str) -> bool:
    return argument.lower().endswith(EXTENSIONS)
