"""Pools: places that keep a worker, sockets that all of them accept from, whatever dies."""
import json
import os
import pathlib
import signal
import socket
import urllib.request

# A server that takes its socket as LISTEN_FDS says it, and tells who it is.
SERVER = """
import os, socket, socketserver, http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"pid": os.getpid(), **{k: v for k, v in os.environ.items() if k.startswith(("LISTEN_", "SPAWND_"))}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
assert os.environ["LISTEN_PID"] == str(os.getpid())
server = socketserver.TCPServer(("", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.server_name, server.server_port = "pool", 0
server.serve_forever()
"""


def status(daemon, name="web"):
    return daemon.ctl("pool", "status", name, json_lines=True, check=0)[0]


def port_of(pool):
    return int(pool["listeners"][0]["address"].rsplit(":", 1)[1])


def ask(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        return json.loads(answer.read())


def settle(daemon, size, name="web"):
    """Waits until all workers are ready, as scale does."""
    daemon.ctl("pool", "scale", name, size, check=0)
    return status(daemon, name)


def start(daemon, *more, name="web", n=2, check=0):
    return daemon.ctl("pool", "start", "--name", name, "-n", n, "--listen", "tcp://127.0.0.1:0", *more, "--",
                      "/usr/bin/python3", "-c", SERVER, check=check)


def test_workers_share_a_socket(daemon):
    start(daemon)
    pool = status(daemon)
    assert pool["state"] == "running" and pool["size"] == 2 and pool["listeners"][0]["policy"] == "shared"
    assert [worker["state"] for worker in pool["workers"]] == ["ready", "ready"]
    seen = ask(port_of(pool))
    assert seen["LISTEN_FDS"] == "1" and seen["LISTEN_PID"] == str(seen["pid"]) and seen["LISTEN_FDNAMES"] == "spawnd"
    assert seen["SPAWND_POOL"] == "web" and seen["pid"] == pool["workers"][int(seen["SPAWND_WORKER"])]["pid"]
    assert daemon.ctl("pool", "ls", json_lines=True, check=0)[0]["name"] == "web"
    assert b"running" in daemon.ctl("pool", "ls", check=0).stdout
    assert b"ready" in daemon.ctl("pool", "status", "web", check=0).stdout
    assert daemon.ctl("pool", "rm", "web").returncode == 1
    daemon.ctl("pool", "stop", "web", check=0)
    assert status(daemon)["state"] == "stopped"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port_of(pool))) != 0
    daemon.ctl("pool", "rm", "web", check=0)
    assert daemon.ctl("pool", "ls", json_lines=True, check=0) == []


def test_every_request_is_served_while_workers_are_killed(daemon):
    start(daemon)
    pool = status(daemon)
    port = port_of(pool)
    pids = {worker["pid"] for worker in pool["workers"]}
    for victim in list(pids):
        os.kill(victim, signal.SIGKILL)
    # nobody is there: the kernel's backlog waits for the next one
    answers = [ask(port) for _ in range(20)]
    assert not {answer["pid"] for answer in answers} & pids
    pool = settle(daemon, 2)
    assert [worker["restarts"] for worker in pool["workers"]] == [1, 1]
    assert [worker["index"] for worker in pool["workers"]] == [0, 1]


def test_scale(daemon, client):
    start(daemon)
    daemon.ctl("pool", "scale", "web", 4, check=0)
    pool = status(daemon)
    assert len(pool["workers"]) == 4 and {worker["state"] for worker in pool["workers"]} == {"ready"}
    daemon.ctl("pool", "scale", "web", 1, check=0)
    for worker in pool["workers"][1:]:
        client.wait(worker["process"])
    pool = status(daemon)
    assert len(pool["workers"]) == 1
    assert ask(port_of(pool))["pid"] == pool["workers"][0]["pid"]
    assert daemon.ctl("pool", "scale", "web", 0).returncode == 2


def test_words_in_braces_and_a_unix_socket(daemon, tmp_path):
    path = tmp_path / ("deep" * 25) / "s"
    path.parent.mkdir()
    code = "import os,socket,sys; s=socket.socket(fileno=int(sys.argv[1])); c=s.accept()[0]; c.send(' '.join(sys.argv[1:]).encode())"
    daemon.ctl("pool", "start", "--name", "p", "-n", 1, "--listen", f"unix:{path}", "--listen", "tcp://127.0.0.1:0", "--",
               "/usr/bin/python3", "-c", code, "{fd}", "{port:1}", "{other}", check=0)
    port = int(status(daemon, "p")["listeners"][1]["address"].rsplit(":", 1)[1])
    here = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(f"/proc/self/fd/{here}/s")
        assert probe.recv(100).decode() == f"3 {port} {{other}}"
    os.close(here)
    daemon.ctl("pool", "stop", "p", check=0)
    assert not path.exists()


def test_what_cannot_be_is_refused_and_leaves_nothing(daemon):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = daemon.ctl("pool", "start", "--name", "a", "-n", 1, "--listen", f"tcp://127.0.0.1:{taken.getsockname()[1]}", "true")
        assert done.returncode == 1 and b"EADDRINUSE" in done.stderr
    for words, why in ((("--listen", "tcp://nowhere:80"), b"spec.listeners[0].address"),
                       (("--listen", "ftp://x"), b"neither tcp"),
                       (("--policy", "best"), b"invalid value"), (("-n", "0"), b"invalid value")):
        done = daemon.ctl("pool", "start", "--name", "a", *words, "true")
        assert done.returncode in (1, 2) and why in done.stderr, done
    done = daemon.ctl("pool", "start", "--name", "a", "-n", 2, "--listen", "tcp://127.0.0.1:0", "--", "false")
    assert done.returncode == 1 and b"exited with 1" in done.stderr
    done = daemon.ctl("pool", "start", "--name", "a", "-n", 2, "--", "/no/such/program")
    assert done.returncode == 1 and b"ENOENT" in done.stderr
    assert daemon.ctl("pool", "ls", json_lines=True, check=0) == []
    start(daemon, n=1)
    done = start(daemon, n=1, check=1)
    assert b"there is a pool named web" in done.stderr


def test_a_pool_outlives_the_engine(daemon):
    start(daemon)
    before = status(daemon)
    engine = daemon.ctl("daemon", "status", json_lines=True, check=0)[0]["engine_pid"]
    os.kill(engine, signal.SIGKILL)
    assert ask(port_of(before))["pid"] in {worker["pid"] for worker in before["workers"]}
    after = settle(daemon, 2)
    assert after == before
    os.kill(after["workers"][0]["pid"], signal.SIGKILL)
    daemon.client().wait(after["workers"][0]["process"])
    pool = settle(daemon, 2)
    assert [worker["restarts"] for worker in pool["workers"]] == [1, 0]
    assert pool["workers"][1]["pid"] == before["workers"][1]["pid"]
    assert ask(port_of(before))["pid"] in {worker["pid"] for worker in pool["workers"]}
    daemon.ctl("pool", "stop", "web", check=0)
    daemon.ctl("pool", "rm", "web", check=0)


def test_nothing_runs_after_the_daemon_has_ended(make_daemon):
    daemon = make_daemon()
    start(daemon)
    pids = [worker["pid"] for worker in status(daemon)["workers"]]
    daemon.stop()
    assert not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]
