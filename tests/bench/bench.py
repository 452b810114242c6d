#!/usr/bin/python3
"""The figures: spawnd, Node and a raw C loop, side by side in interleaved runs of one session, as paired ratios.

usage: bench.py [--json FILE] [--rounds N] [FIGURE...]

A ratio is the median over the rounds, with a 95 % interval by bootstrap. A figure is reached when the interval includes its goal.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "bin"
RAW, CLIENT, CTL = (str(BIN / name) for name in ("bench_raw", "bench_client", "spawnctl"))
NODE_SCRIPT = str(ROOT / "tests" / "bench" / "node.js")
MANY = str(1 << 30)


def number(*command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}")
    return float(done.stdout.split()[-1])


def raw(*args):
    return lambda socket: number(RAW, *args)


def node(*args):
    return lambda socket: number("node", NODE_SCRIPT, *args)


def ours(*args):
    return lambda socket: number(CLIENT, socket, *args)


# name: what is measured (runs by name), and the goals: (label, numerator, denominator or None, ">=" or "<=", goal)
FIGURES = {
    "spawn, 1 in flight, per second": (
        {"spawnd": ours("spawn", 1000, 1), "raw": raw("spawn", 1000, 1), "node": node("spawn", 300, 1)},
        [("of raw", "spawnd", "raw", ">=", 0.9), ("of Node", "spawnd", "node", ">=", 1.0)]),
    "spawn, 32 in flight, per second": (
        {"spawnd": ours("spawn", 3000, 32), "raw": raw("spawn", 3000, 32), "node": node("spawn", 800, 32)},
        [("of raw", "spawnd", "raw", ">=", 0.9), ("of Node", "spawnd", "node", ">=", 3.0)]),
    "spawn from a client with 2 GiB resident, per second": (
        {"spawnd": ours("spawn-big", 500), "small": ours("spawn", 500, 1), "node": node("spawn-big", 20)},
        [("of a small client", "spawnd", "small", ">=", 0.95), ("of Node", "spawnd", "node", ">=", 20)]),
    "spawn to exit, one at a time, microseconds": (
        {"spawnd": ours("latency", 1000), "raw": raw("latency", 1000), "node": node("latency", 300)},
        [("added to raw", "spawnd", "-raw", "<=", 150)]),
    "stdout, 64 KiB writes, bytes per second": (
        {"direct": ours("pipe", "direct", RAW, MANY, 65536), "kept": ours("pipe", "kept", RAW, MANY, 65536),
         "handover": ours("pipe", "handover", RAW, MANY, 65536), "pipe": raw("pipe", MANY, 65536), "node": node("pipe", RAW, MANY, 65536)},
        [("direct of a pipe", "direct", "pipe", ">=", 1.8), ("kept of a pipe", "kept", "pipe", ">=", 1.2),
         ("handover of a pipe", "handover", "pipe", ">=", 1.0), ("Node of a pipe", "node", "pipe", ">=", 0)]),
    "stdout, 100-byte writes, bytes per second": (
        {"direct": ours("pipe", "direct", RAW, 1 << 26, 100), "kept": ours("pipe", "kept", RAW, 1 << 26, 100),
         "pipe": raw("pipe", 1 << 26, 100), "node": node("pipe", RAW, 1 << 26, 100)},
        [("direct of a pipe", "direct", "pipe", ">=", 1.5), ("kept of a pipe", "kept", "pipe", ">=", 1.5),
         ("Node of a pipe", "node", "pipe", ">=", 0)]),
    "unary round trip, microseconds": (
        {"spawnd": ours("ping", 20000)}, [("median", "spawnd", None, "<=", 30)]),
    "unary calls, 64 in flight, per second": (
        {"spawnd": ours("pipelined", 400000, 64)}, [("rate", "spawnd", None, ">=", 300000)]),
    "message to a Node child and back, microseconds": (
        {"spawnd": ours("round-trip", 5000, NODE_SCRIPT), "node": node("round-trip", 5000)},
        [("of Node", "spawnd", "node", "<=", 0.55)]),
    "messages to a Node child, per second": (
        {"spawnd": ours("messages", 200000, NODE_SCRIPT), "node": node("messages", 200000)},
        [("of Node", "spawnd", "node", ">=", 2.0)]),
    "memory with 1,000 idle children, bytes": (
        {"spawnd": ours("idle", 1000), "node": node("idle", 1000)},
        [("keeper and engine", "spawnd", None, "<=", 8 << 20), ("of Node", "spawnd", "node", "<=", 0.2)]),
}


def interval(values):
    """Median and its 95 % interval by bootstrap, with a fixed seed."""
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(2000))
    return statistics.median(values), medians[50], medians[1949]


def combine(runs, numerator, denominator):
    if denominator is None:
        return runs[numerator]
    if denominator.startswith("-"):
        return [a - b for a, b in zip(runs[numerator], runs[denominator[1:]])]
    return [a / b for a, b in zip(runs[numerator], runs[denominator])]


def measure(name, rounds, socket):
    programs, goals = FIGURES[name]
    runs = {label: [] for label in programs}
    for _ in range(rounds):
        for label, program in programs.items():
            runs[label].append(program(socket))
    print(f"\n{name}")
    for label, values in runs.items():
        print(f"  {label:<10} {statistics.median(values):>16,.1f}")
    rows = []
    for label, numerator, denominator, sense, goal in goals:
        middle, low, high = interval(combine(runs, numerator, denominator))
        reached = high >= goal if sense == ">=" else low <= goal
        wanted = f"goal {sense} {goal:g}: {'reached' if reached else 'not reached'}" if goal else ""
        print(f"  {label:<22} {middle:>12,.3f}  [{low:,.3f}, {high:,.3f}]  {wanted}")
        rows.append({"figure": name, "what": label, "value": middle, "low": low, "high": high, "sense": sense, "goal": goal, "reached": reached})
    return rows, runs


@contextlib.contextmanager
def fresh_daemon():
    """A daemon of its own for each figure: none starts with what another left behind."""
    with tempfile.TemporaryDirectory() as directory:
        socket = os.path.join(directory, "s")
        subprocess.run([CTL, "--socket", socket, "daemon", "start"], check=True, stdout=subprocess.DEVNULL)
        try:
            yield socket
        finally:
            subprocess.run([CTL, "--socket", socket, "daemon", "stop"], check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("figures", nargs="*")
    options = parser.parse_args()
    chosen = [name for name in FIGURES if not options.figures or any(word in name for word in options.figures)]
    if not chosen:
        sys.exit("bench: no such figure; there are:\n  " + "\n  ".join(FIGURES))
    rows, all_runs = [], {}
    for name in chosen:
        with fresh_daemon() as socket:
            found, all_runs[name] = measure(name, options.rounds, socket)
            rows += found
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"figures": rows, "runs": all_runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
