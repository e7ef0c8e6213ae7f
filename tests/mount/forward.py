#!/usr/bin/env python3
"""forward: a TCP forwarder between network namespaces: the server listens on loopback only.

  forward.py LISTEN-ADDRESS PORT SERVER-ADDRESS PORT [DIRECTORY]

Bytes go both ways as they come, what is on its way when a link goes down arrives when it is up
again. A connection is closed when either side closes it.

With DIRECTORY, the files `up` (to the server) and `down` in it say how many of the next payloads
outside of messages (DATA frames, which have no sum of their own) get one flipped bit. What was
flipped is noted in `flipped`, a line each. A port 0 is any free one; it is written to `port`.
"""
import os
import socket
import struct
import sys
import threading

FRAME_DATA = 15
HEADER, EXTENSION, CHUNK = 72, 32, 32


class flipper:
    """Follows the frames of one direction and changes bytes of payloads as it is told."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.head = bytearray()  # of the frame that has begun
        self.rest = 0            # bytes of the frame to come behind its head
        self.flip_at = None      # how many of those are left when the bit is flipped

    def wanted(self):
        path = os.path.join(self.directory, self.name)
        try:
            with open(path) as f:
                count = int(f.read() or 0)
        except OSError:
            return False
        if count <= 0:
            return False
        with open(path + ".new", "w") as f:
            f.write(str(count - 1))
        os.rename(path + ".new", path)
        with open(os.path.join(self.directory, "flipped"), "a") as f:
            f.write(self.name + "\n")
        return True

    def head_size(self):
        is_data = len(self.head) > 5 and self.head[5] == FRAME_DATA
        return HEADER + EXTENSION + CHUNK if is_data else 16

    def head_ended(self):
        total, = struct.unpack_from("<I", self.head, 8)
        self.rest = total - len(self.head)
        if self.head[5] == FRAME_DATA:
            size, = struct.unpack_from("<I", self.head, HEADER + EXTENSION + 12)
            self.rest += size
            self.flip_at = self.rest // 2 if size != 0 and self.wanted() else None
        self.head.clear()

    def pass_on(self, data):
        out, at = bytearray(data), 0
        while at < len(out):
            if self.rest == 0:
                self.head.append(out[at])
                at += 1
                if len(self.head) >= 16 and len(self.head) == self.head_size():
                    self.head_ended()
                continue
            n = min(self.rest, len(out) - at)
            if self.flip_at is not None and self.rest - n < self.flip_at <= self.rest:
                out[at + self.rest - self.flip_at] ^= 0x10
                self.flip_at = None
            self.rest -= n
            at += n
        return out


def pump(source, target, change):
    try:
        while data := source.recv(1 << 16):
            target.sendall(change.pass_on(data) if change else data)
    except OSError:
        pass
    for s in (source, target):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    listen, server = (sys.argv[1], int(sys.argv[2])), (sys.argv[3], int(sys.argv[4]))
    directory = sys.argv[5] if len(sys.argv) > 5 else None
    listener = socket.create_server(listen)
    if directory:
        with open(os.path.join(directory, "port.new"), "w") as f:
            f.write(str(listener.getsockname()[1]))
        os.rename(os.path.join(directory, "port.new"), os.path.join(directory, "port"))
    while True:
        peer, _ = listener.accept()
        try:
            inner = socket.create_connection(server)
        except OSError:
            peer.close()
            continue
        for s in (peer, inner):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target, name in ((peer, inner, "up"), (inner, peer, "down")):
            change = flipper(directory, name) if directory else None
            threading.Thread(target=pump, args=(source, target, change), daemon=True).start()


main()
