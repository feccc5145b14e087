"""A slow line on this machine: a network namespace behind a link of a given latency and bandwidth.

The kernel's netem shapes the link where it has that module. Elsewhere a process carries the packets between
two TUN devices, and holds each back as long as the line would: TCP meets the same delay, rate and full queue.
Needs root and `ip` (Debian: iproute2).
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import select
import shutil
import struct
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_QUEUE_PACKETS = 1000
"""Packets that wait before further ones are dropped, as netem's own limit."""
_MTU = 1500


@dataclass(frozen=True)
class Link:
    """A namespace, and the address under which processes in it reach this side."""

    namespace: str
    here: str
    way: str
    """How the link is shaped."""

    def command(self, command: Sequence[str]) -> list[str]:
        """A command line that runs beyond the link."""
        return ["ip", "netns", "exec", self.namespace, *command]


def available() -> str | None:
    """What is missing for a link; None if nothing is."""
    if shutil.which("ip") is None:
        return "no `ip` command (Debian: iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    return None


@contextmanager
def link(latency: float = 0.020, bandwidth: float = 100e6) -> Iterator[Link]:
    """A link of a round trip of `latency` seconds, and `bandwidth` bits a second each way."""
    number = os.getpid() % 200
    name, here, there = f"imarium{number}", f"10.77.{number}.1", f"10.77.{number}.2"
    near, far = f"imn{number}", f"imf{number}"
    with ExitStack() as stack:
        _run("ip", "netns", "add", name)
        stack.callback(_run, "ip", "netns", "del", name)
        if _netem(name, near, far, latency, bandwidth):
            way = "netem"
        else:
            subprocess.run(["ip", "link", "del", near], check=False, capture_output=True)
            devices = [_tun(near), _tun(far)]
            for descriptor in devices:
                stack.callback(os.close, descriptor)
            _run("ip", "link", "set", far, "netns", name)
            carrier = multiprocessing.get_context("fork").Process(
                target=_carry, args=(devices, latency / 2, bandwidth), daemon=True
            )
            carrier.start()
            stack.callback(carrier.join, 10)
            stack.callback(carrier.terminate)
            way = "packets carried between TUN devices: this kernel has no netem"
        _run("ip", "addr", "add", f"{here}/24", "dev", near)
        _run("ip", "link", "set", near, "mtu", str(_MTU), "up")
        inside = ("ip", "netns", "exec", name)
        _run(*inside, "ip", "addr", "add", f"{there}/24", "dev", far)
        _run(*inside, "ip", "link", "set", far, "mtu", str(_MTU), "up")
        _run(*inside, "ip", "link", "set", "lo", "up")
        yield Link(name, here, way)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _netem(name: str, near: str, far: str, latency: float, bandwidth: float) -> bool:
    """Join the namespace by a shaped pair of devices; False if the kernel cannot shape it."""
    _run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
    shape = ("netem", "delay", f"{latency / 2 * 1e3:g}ms", "rate", f"{bandwidth:.0f}bit", "limit", "1000")
    try:
        _run("tc", "qdisc", "add", "dev", near, "root", *shape)
        _run("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", far, "root", *shape)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _tun(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return descriptor


class _Way:
    """One direction of the line: packets leave at its rate, and arrive after its delay."""

    def __init__(self, target: int, delay: float, bandwidth: float) -> None:
        self._target, self._delay, self._bandwidth = target, delay, bandwidth
        self._free = 0.0
        self._waiting: deque[tuple[float, bytes]] = deque()

    def take(self, packet: bytes, now: float) -> None:
        if len(self._waiting) < _QUEUE_PACKETS:
            self._free = max(self._free, now) + len(packet) * 8 / self._bandwidth
            self._waiting.append((self._free + self._delay, packet))

    def deliver(self, now: float) -> float | None:
        """Hand over what has arrived; when the next packet will."""
        while self._waiting and self._waiting[0][0] <= now:
            packet = self._waiting.popleft()[1]
            try:
                os.write(self._target, packet)
            except OSError:
                continue  # the device is going down
        return self._waiting[0][0] if self._waiting else None


def _carry(devices: Sequence[int], delay: float, bandwidth: float) -> None:
    one, other = devices
    ways = {one: _Way(other, delay, bandwidth), other: _Way(one, delay, bandwidth)}
    while True:
        now = time.monotonic()
        due = [when for way in ways.values() if (when := way.deliver(now)) is not None]
        pause = max(0.0, min(due) - time.monotonic()) if due else 1.0
        for device in select.select(devices, [], [], pause)[0]:
            _drain(device, ways[device])


def _drain(device: int, way: _Way) -> None:
    try:
        for _ in range(64):
            way.take(os.read(device, 1 << 16), time.monotonic())
    except BlockingIOError:
        return
    except OSError:
        time.sleep(0.01)  # not up yet
