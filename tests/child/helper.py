#!/usr/bin/python3
"""One program with verbs that tests start as a child: what a shell cannot do exactly.

  pattern SEED BYTES [CHUNK]   writes BYTES of a known stream to stdout (see pattern() below), CHUNK at a time
  holder SECONDS               exits at once; a grandchild in its own session holds stdout and stderr for SECONDS
  escape FIFO                  double fork with setsid, then opens FIFO for writing and stays: its reader learns when it dies
  fds                          prints the numbers of its open descriptors
  signals                      prints blocked and ignored signals, session, group and pid
"""
import os
import signal
import sys


def pattern(seed, offset, size):
    """`size` bytes at `offset` of the stream of `seed`: eight bytes for each multiple of eight."""
    first = offset // 8
    words = b"".join(((seed * 1000003 + index) * 0x9E3779B97F4A7C15 % (1 << 64)).to_bytes(8, "little")
                     for index in range(first, (offset + size + 7) // 8))
    return words[offset - first * 8:][:size]


def holder(seconds):
    if os.fork() == 0:
        os.setsid()
        signal.sigtimedwait([], float(seconds))
        os._exit(0)


def escape(fifo):
    for step in range(2):
        if os.fork():
            os._exit(0) if step else signal.pause()
        os.setsid()
    os.open(fifo, os.O_WRONLY)
    signal.pause()


def main():
    verb, *args = sys.argv[1:]
    if verb == "pattern":
        seed, left = int(args[0]), int(args[1])
        chunk, offset = int(args[2]) if len(args) > 2 else 65536, 0
        while left:
            piece = pattern(seed, offset, min(chunk, left))
            done = os.write(1, piece)
            offset, left = offset + done, left - done
    elif verb == "holder":
        holder(*args)
    elif verb == "escape":
        escape(*args)
    elif verb == "fds":
        print(" ".join(sorted((n for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")), key=int)))
    elif verb == "signals":
        status = dict(line.split(":\t") for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
        print(status["SigBlk"], status["SigIgn"], os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())
    else:
        sys.exit(f"helper: no verb {verb}")


if __name__ == "__main__":
    main()
