#!/bin/sh
while IFS= read -r message <&"$NODE_CHANNEL_FD"; do printf '{"got":%s}\n' "$message" >&"$NODE_CHANNEL_FD"; done
