from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.measure.messages import BuildRequest, Message, Turning
from wmhub.measure.wire import Channel

_messages = st.builds(Turning, st.none() | st.integers(0, 2**53)) | st.builds(
    BuildRequest, st.integers(0, 9), st.text(), st.none() | st.text()
)


@given(st.lists(_messages, max_size=5))
def test_messages_arrive_whole_and_in_order(messages: list[Message]) -> None:
    left, right = Channel.pair()
    for message in messages:
        left.send(message)
    assert [right.receive(1.0) for _ in messages] == messages
    left.close()
    assert right.receive(1.0) is None
    right.close()


def test_a_message_larger_than_the_socket_holds_arrives() -> None:
    left, right = Channel.pair()
    message = BuildRequest(1, "x" * (8 << 20), None)
    sender = threading.Thread(target=left.send, args=(message,))
    sender.start()
    assert right.receive(30.0) == message
    sender.join()
    left.close()
    right.close()


def test_silence_times_out_and_the_channel_lives_on() -> None:
    left, right = Channel.pair()
    with pytest.raises(TimeoutError):
        right.receive(0.01)
    left.send(Turning(1))
    assert right.receive(1.0) == Turning(1)
    left.close()
    right.close()


def test_an_end_that_dies_amid_a_message_reads_as_gone() -> None:
    left, right = Channel.pair()
    left._stream.sendall(b"\0\0\0\x10half")
    left.close()
    assert right.receive(1.0) is None
    right.close()
