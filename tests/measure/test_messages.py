from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wmhub.measure.messages import (
    ArchiveRequest,
    BuildRequest,
    Built,
    Dropped,
    DropRequest,
    Granted,
    Message,
    NoTracker,
    Ran,
    Ready,
    RunnerSettings,
    RunRequest,
    Turning,
    WorkerSettings,
    decoded,
    encoded,
)
from wmhub.measure.timing import TimingPlan
from wmhub.records import FailureKind

_json = st.dictionaries(st.text(), st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9))
_id, _seconds = st.integers(-1, 2**53), st.floats(0, 1e9)
_environment = st.dictionaries(st.text(), st.text())
_failure = st.none() | st.sampled_from(FailureKind)
_messages = st.one_of(
    st.builds(WorkerSettings, _json, _id, st.booleans(), st.text(), _environment),
    st.builds(BuildRequest, _id, st.text(), st.none() | st.text()),
    st.builds(Built, _id, _seconds, _failure, st.text()),
    st.builds(
        RunRequest, st.lists(_id), st.builds(TimingPlan, st.integers(1, 9)), st.none() | _seconds,
        _seconds,
    ),
    st.builds(Ran, _id, st.lists(_seconds), _seconds, _failure, st.text(), st.booleans()),
    st.builds(Turning, st.none() | _id),
    st.builds(RunnerSettings, _json, st.text(), _id, st.text()),
    st.builds(
        ArchiveRequest, _id, st.text(), st.text(), st.builds(TimingPlan, st.integers(1, 9)),
        st.none() | _seconds, _seconds,
    ),
    st.builds(Ready, st.text()),
    st.builds(DropRequest, st.lists(_id)),
    st.builds(Dropped, _id),
    st.builds(NoTracker, st.text()),
    st.builds(Granted),
)  # fmt: skip


@given(_messages)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decoded(encoded(message)) == message
