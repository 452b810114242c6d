"""Between client and daemon: passes everything on, and cuts connections at a byte that the test chooses."""
import array
import os
import pathlib
import select
import socket
import threading

CHUNK = 1 << 16


class Proxy:
    """Listens at `path` for `daemon`. Each connection is cut after as many bytes as the next of `cuts` says, once the daemon (or,
    for a negative number, the client) has sent so many; without any left it is not. What was sent beyond it is lost."""

    def __init__(self, daemon, cuts):
        self.daemon = daemon
        self.socket = pathlib.Path(daemon.directory) / "p"
        self.cuts = iter(cuts)
        self.cut = 0
        self.connections = 0
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.socket))
        self.listener.listen(16)
        self.stopping, self.stopped = os.pipe()
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.stopped)
        for thread in self.threads:
            thread.join()
        os.close(self.stopping)
        self.listener.close()
        os.unlink(self.socket)

    def accept(self):
        while self.listener in select.select([self.listener, self.stopping], [], [])[0]:
            client, _ = self.listener.accept()
            self.connections += 1
            thread = threading.Thread(target=self.serve, args=(client, next(self.cuts, None)))
            self.threads.append(thread)
            thread.start()

    @staticmethod
    def move(source, target, size):
        """Bytes and descriptors; their number, 0 at the end."""
        data, ancillary, _, _ = source.recvmsg(size, socket.CMSG_SPACE(256 * 4))
        fds = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content)
        if data:
            sent = target.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else [])
            target.sendall(data[sent:])
        for fd in fds:
            os.close(fd)
        return len(data)

    def serve(self, client, cut):
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
            daemon.connect(str(self.daemon.socket))
            counted = None if cut is None else daemon if cut > 0 else client
            left = abs(cut or 0)
            try:
                while counted is None or left > 0:
                    ready = select.select([client, daemon, self.stopping], [], [])[0]
                    if self.stopping in ready:
                        return
                    for source in ready:
                        target = daemon if source is client else client
                        moved = self.move(source, target, min(CHUNK, left) if source is counted else CHUNK)
                        if not moved:
                            return
                        left -= moved if source is counted else 0
                        if source is counted and left == 0:
                            self.cut += 1
                            break
            except ConnectionError:
                pass
