#!/usr/bin/env python3
"""forward: a TCP forwarder between network namespaces: the server listens on loopback only.

  forward.py LISTEN-ADDRESS PORT SERVER-ADDRESS PORT

Bytes go both ways as they come, what is on its way when a link goes down arrives when it is up
again. A connection is closed when either side closes it.
"""
import socket
import sys
import threading


def pump(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    for s in (source, target):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    listen, server = (sys.argv[1], int(sys.argv[2])), (sys.argv[3], int(sys.argv[4]))
    listener = socket.create_server(listen)
    while True:
        peer, _ = listener.accept()
        try:
            inner = socket.create_connection(server)
        except OSError:
            peer.close()
            continue
        for s in (peer, inner):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pair in ((peer, inner), (inner, peer)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


main()
