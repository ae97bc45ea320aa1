"""Channels to a control socket, whatever they are made of."""

from __future__ import annotations

import socket

from truss.channel import SocketChannel


def test_the_end_of_a_channel_is_its_end_for_all_who_hold_it() -> None:
    """What a library keeps of a connection does not keep the other side waiting."""
    ours, theirs = socket.socketpair()
    with ours.dup(), theirs:
        theirs.settimeout(10)
        SocketChannel(ours).close()

        assert theirs.recv(1) == b""
