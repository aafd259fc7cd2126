"""inject from files, folders and URLs; what it says of each resource; what it would change."""

import functools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.manifests.test_command import BAD, COMMAND, GOOD, INJECT, POD, run

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pods in a folder, one in a folder of it, and a file that is no manifest."""
    (tmp_path / "deep").mkdir()
    for name in ("a.yaml", "b.yml", "deep/c.yaml"):
        (tmp_path / name).write_text(POD.format(name=Path(name).stem, port=80))
    (tmp_path / "README.md").write_text("# no manifest\n")
    return tmp_path


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    """Where a server hands the folder out."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_folder_has_its_manifests_and_with_r_those_of_its_folders(folder: Path) -> None:
    done = run(*INJECT, "-f", str(folder))
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f'{folder}/a.yaml: pod "a" injected: 1 probe',
        f'{folder}/b.yml: pod "b" injected: 1 probe',
        "osm-healthcheck inject: 2 injected",
    ]
    deep = run(*INJECT, "-R", str(folder))
    assert deep.stdout.startswith(done.stdout)
    assert f'{folder}/deep/c.yaml: pod "c" injected: 1 probe' in deep.stderr
    assert run(*INJECT, "--in-place", "-f", str(folder)).returncode == 0
    assert "15904" in (folder / "b.yml").read_text()
    assert "15904" not in (folder / "deep" / "c.yaml").read_text()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["verify"], "Pod {}\n"),
        (["render", "envoy"], "# Pod {}\n"),
        (["probe", "--once"], "{} app liveness  failure"),
        (["diagnose"], "Pod {}: app liveness: agree, failure"),
    ],
)
def test_whatever_reads_manifests_takes_what_kubectl_takes(
    command: list[str], said: str, folder: Path
) -> None:
    done = run(*command, "-R", "-f", str(folder))
    for name in ("a", "b", "c"):
        assert said.format(name) in done.stdout, done.stderr
    empty = run(*command, "-f", "")
    assert (empty.returncode, empty.stdout) == (2, "")
    assert "FILE: the name is empty" in empty.stderr


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
@pytest.mark.parametrize("arguments", [["-R"], ["-R", "--in-place"]])
def test_a_folder_that_may_not_be_read_is_named_and_nothing_is_written(
    folder: Path, arguments: list[str]
) -> None:
    def run_unprivileged(*arguments: str) -> subprocess.CompletedProcess[str]:
        # root reads everything; without these it is as anybody else
        rights = "-dac_override,-dac_read_search"
        prefix = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
        command = [*(prefix if os.geteuid() == 0 else []), *COMMAND, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    before = (folder / "a.yaml").read_text()
    (folder / "deep").chmod(0)
    try:
        done = run_unprivileged(*INJECT, *arguments, str(folder))
        inside = run_unprivileged(*INJECT, str(folder / "deep" / "c.yaml"))
    finally:
        (folder / "deep").chmod(0o700)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{folder}/deep: cannot be read: Permission denied" in done.stderr
    assert (folder / "a.yaml").read_text() == before
    assert (inside.returncode, inside.stdout) == (2, "")
    assert "deep/c.yaml: cannot be read: Permission denied" in inside.stderr
    assert "Traceback" not in done.stderr + inside.stderr


def test_a_url_is_fetched(url: str) -> None:
    done = run(*INJECT, "-f", f"{url}/a.yaml")
    assert (done.returncode, done.stderr) == (0, 'pod "a" injected: 1 probe\n')
    missing = run(*INJECT, f"{url}/none.yaml", "http://127.0.0.1:1/")
    assert (missing.returncode, missing.stdout) == (2, "")
    said = "cannot be read: the server says 404 File not found\n"
    assert f"{url}/none.yaml: {said}" in missing.stderr
    assert "http://127.0.0.1:1/: cannot be read: Connection refused\n" in missing.stderr
    assert "Traceback" not in missing.stderr
    assert "not the standard input or a URL" in run(*INJECT, "--in-place", url).stderr


def test_a_password_in_a_url_is_sent_and_never_shown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked: list[bytes] = []

        def answer() -> None:
            for status, body in (("200 OK", GOOD + "---\na: ["), ("404 Not Found", "")):
                connection, _ = server.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
                    connection.sendall((head + body).encode())

        thread = threading.Thread(target=answer)
        thread.start()
        host = f"127.0.0.1:{server.getsockname()[1]}"
        done = run(*INJECT, *[f"http://user:p%40ss@{host}/{name}" for name in ("a", "b")])
        thread.join()
    assert all(b"Authorization: Basic dXNlcjpwQHNz\r\n" in one for one in asked)
    assert done.returncode == 2
    shown = [line.split(" ")[0] for line in done.stderr.splitlines()]
    assert shown[:2] == [f"http://user:xxxxx@{host}/{name}:" for name in ("a", "b")]
    assert "p%40ss" not in done.stderr


@pytest.mark.parametrize("promise", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_download_that_breaks_off_is_not_taken_for_the_whole(promise: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                body = f"{len(GOOD):x}\r\n{GOOD}\r\n" if "chunked" in promise else GOOD
                connection.sendall(f"HTTP/1.1 200 OK\r\n{promise}\r\n\r\n{body}".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        done = run(*INJECT, url)
        thread.join()
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{url}: cannot be read: the download broke off after {len(GOOD)} bytes" in done.stderr


@pytest.mark.parametrize("command", [INJECT, ("uninject",)])
@pytest.mark.parametrize("option", [[], ["-f"]])
def test_an_empty_name_is_not_the_current_folder(
    command: tuple[str, ...], option: list[str], folder: Path
) -> None:
    before = (folder / "a.yaml").read_text()
    done = run(*command, "--in-place", *option, "", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "FILE: the name is empty" in done.stderr
    assert (folder / "a.yaml").read_text() == before


@pytest.mark.parametrize("command", ["verify", "diagnose"])
def test_an_empty_name_is_not_the_standard_input(command: str) -> None:
    done = run(command, "", text=GOOD)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the name is empty" in done.stderr


def test_each_resource_gets_a_line_and_all_get_a_summary() -> None:
    hooked = GOOD.replace(
        "livenessProbe:", "lifecycle: {preStop: {httpGet: {port: 80}}}\n    startupProbe:"
    )
    bare = GOOD.replace("livenessProbe:", "other:")
    text = f"{hooked}---\n{bare}---\n{CONFIG}---\n{GOOD}"
    done = run(*INJECT, text=text)
    lines = [one for one in done.stderr.splitlines() if "warning" not in one]
    assert lines == [
        'pod "good" skipped: no httpGet, tcpSocket or grpc probe',
        'pod "good" injected: 1 probe, 1 lifecycle hook',
        'pod "good" injected: 1 probe',
        "osm-healthcheck inject: 2 injected, 1 skipped, 1 without a pod",
    ]
    again = run(*INJECT, text=done.stdout)
    assert again.stderr.splitlines()[-1].endswith("2 unchanged, 1 skipped, 1 without a pod")
    quiet = run(*INJECT, "--quiet", text=text).stderr
    assert "skipped" in quiet
    assert '" injected' not in quiet


@pytest.mark.skipif(not shutil.which("patch"), reason="patch is not installed")
def test_the_diff_is_what_patch_makes_the_output_of(tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    path.write_text(f"{GOOD}---\n{CONFIG}---\n{POD.format(name='end', port=80).rstrip()}")
    before = path.read_text()
    wanted = run(*INJECT, str(path)).stdout
    done = run(*INJECT, "--diff", str(path))
    assert done.returncode == 1
    assert path.read_text() == before
    assert 'pod "good" would be injected: 1 probe' in done.stderr
    subprocess.run(["patch", "-s", str(path)], input=done.stdout, text=True, check=True)
    assert path.read_text() == wanted
    same = run(*INJECT, "--diff", str(path))
    assert (same.returncode, same.stdout) == (0, "")
    back = run("uninject", "--diff", str(path))
    subprocess.run(["patch", "-s", str(path)], input=back.stdout, text=True, check=True)
    assert (back.returncode, path.read_text()) == (1, before)
    assert 'pod "good" would be given back\n' in back.stderr
    broken = run(*INJECT, "--diff", text=f"{GOOD}---\n{BAD}")
    assert (broken.returncode, broken.stdout) == (2, "")
    assert run(*INJECT, "--diff", "-o", "json").returncode == 2


@pytest.mark.parametrize("tool", ["patch -s -p1", "git apply"])
def test_the_diff_names_its_files_as_patch_and_git_apply_read_them(
    tool: str, tmp_path: Path
) -> None:
    names = ["web.yaml", "a b.yaml", 'q"\\.yaml', "line\n.yaml", os.fsdecode(b"\xe9.yaml")]
    for name in names:
        (tmp_path / name).write_text(GOOD)
    if not shutil.which(tool.split()[0]):
        pytest.skip(f"there is no {tool} here")
    sources = ["./web.yaml", *names[1:]]
    done = subprocess.run(
        [*COMMAND, *INJECT, "--diff", *sources], cwd=tmp_path, capture_output=True
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 1, done.stderr
    subprocess.run(tool.split(), cwd=tmp_path, input=done.stdout, check=True)
    wanted = run(*INJECT, text=GOOD).stdout
    assert [(tmp_path / name).read_text() for name in names] == [wanted] * len(names)
