"""Messages and descriptors of forked children: Node's as they are, and Python's by spawnd_child."""
import asyncio
import os
import shutil
import socket
import sys

import pytest

import spawnd
from conftest import PACKAGE

NODE_ECHO = "process.on('message', (m) => process.send({got: m}))"
CHILD = """
import os, sys
sys.path.insert(0, %r)
import spawnd_child
with spawnd_child.attach() as channel:
    for message in channel:
        if message.content_type.startswith("text/"):
            channel.send(message.value.upper().encode(), content_type="text/plain")
        else:
            channel.send(message.data, message.handles, content_type=message.content_type)
        message.close()
""" % str(PACKAGE)


def test_json_with_node(run_async):
    values = [{"a": [1, "zwölf", None]}, "text", 7, True, [], "line\nend"]

    async def talk():
        async with await spawnd.fork("node", "-e", NODE_ECHO) as child:
            for value in values:
                await child.send(value)
            got = [(await child.receive()).value["got"] for _ in values]
            await child.disconnect()
            rest = [message async for message in child.messages()]
            return got, rest, await child.wait()

    assert run_async(talk()) == (values, [], 0)


def test_advanced_is_bytes(run_async):
    text = b"\xff\x0f\x22\x02hi"  # V8's header and the one-byte string "hi"

    async def talk():
        async with await spawnd.fork("node", "-e", "process.on('message', (m) => { process.send(m); process.disconnect() })",
                                     serialization="advanced") as child:
            with pytest.raises(TypeError):
                await child.send("hi")
            await child.send(text)
            return (await child.receive()).data, await child.receive()

    assert run_async(talk()) == (text, None)


def test_native_with_types_and_large(run_async):
    large = os.urandom(3 << 20)

    async def talk():
        async with await spawnd.fork(sys.executable, "-c", CHILD, serialization="native") as child:
            await child.send("hello")
            first = await child.receive()
            sending = asyncio.gather(child.send(large, content_type="x/y"), child.send(b""))
            second, third = await child.receive(), await child.receive()
            await sending
            await child.send({"a": None})
            fourth = await child.receive()
            await child.disconnect()
            assert await child.receive() is None
            with pytest.raises(BrokenPipeError):
                await child.send(b"late")
            return (first.value, first.content_type), (second.content_type, second.data == large), third.data, fourth.value

    assert run_async(talk()) == (("HELLO", "text/plain"), ("x/y", True), b"", {"a": None})


def test_many_messages_nobody_takes_yet(run_async):
    async def talk():
        async with await spawnd.fork(sys.executable, "-c", CHILD, serialization="native") as child:
            count = 3000
            sending = asyncio.gather(*(child.send(b"%d" % number) for number in range(count)))
            got = [int((await child.receive()).data) for _ in range(count)]
            await sending
            await child.disconnect()
            return got == list(range(count))

    assert run_async(talk())


def test_descriptors_both_ways(run_async, tmp_path):
    async def talk():
        path = tmp_path / "file"
        ours, theirs = socket.socketpair()
        async with await spawnd.fork(sys.executable, "-c", CHILD, serialization="native") as child:
            with open(path, "wb") as file, ours, theirs:
                await child.send(b"two", [file.fileno(), theirs])
                message = await child.receive()
                number, sock = message.handles
                os.write(number, b"through the child")
                sock.sendall(b"ping")
                assert ours.recv(10) == b"ping" and not os.get_inheritable(number) and not message.lost
                message.close()
            await child.disconnect()
        return path.read_bytes()

    assert run_async(talk()) == b"through the child"


def test_without_a_channel(run_async):
    async def talk():
        async with await spawnd.spawn("true") as child:
            for attempt in (child.send({}), child.receive()):
                with pytest.raises(spawnd.ChannelClosed):
                    await attempt

    run_async(talk())
