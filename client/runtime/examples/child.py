#!/usr/bin/env python3
"""A child that sends back all it gets, descriptors too, over either kind of channel."""
import spawnd_child

with spawnd_child.attach() as channel:
    for message in channel:
        if isinstance(channel, spawnd_child.NativeChannel):
            channel.send(message.data, message.handles, content_type=message.content_type)
        else:
            channel.send(message.value, message.handles)
        message.close()
