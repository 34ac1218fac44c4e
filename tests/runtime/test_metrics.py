"""What /metrics tells of the scheduler's snapshot."""

from radixlang.runtime.metrics import Metrics


def test_speculation_is_told_by_sglangs_names():
    snapshot = {
        "spec_accept_length": 2.5,
        "spec_accept_rate": 0.75,
        "spec_verify_total": 4,
        "spec_proposed_drafts_total": 8,
        "spec_correct_drafts_total": 6,
    }
    lines = Metrics().render(snapshot).decode().splitlines()
    for line in (
        "radixlang:spec_accept_length 2.5",
        "radixlang:spec_accept_rate 0.75",
        "radixlang:spec_verify_total 4.0",
        "radixlang:spec_proposed_drafts_total 8.0",
        "radixlang:spec_correct_drafts_total 6.0",
    ):
        assert line in lines


def test_what_the_snapshot_lacks_is_not_told():
    assert "spec_" not in Metrics().render({}).decode()
